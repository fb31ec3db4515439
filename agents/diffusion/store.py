"""Results that stay where they were computed until somebody takes them: so many, so large, for so long.

Knows bytes and moments, not what they mean.
"""

from collections import OrderedDict
from dataclasses import dataclass

COUNT = 512
NBYTES = 256 * 1024 * 1024
SECONDS = 900.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """A party's answer, when it was last wanted, and how long it took."""

    payload: bytes
    kind: str
    shapes: dict[str, list[int]]
    digest: str
    seconds: float
    wanted: float


class Store:
    """Keeps the results that were wanted last, within three bounds; a single one may exceed ``nbytes``."""

    def __init__(self, count: int = COUNT, nbytes: int = NBYTES, seconds: float = SECONDS) -> None:
        self.count, self.limit, self.seconds = count, nbytes, seconds
        self.nbytes = 0
        self._held: OrderedDict[str, Result] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, key: str, result: Result) -> None:
        """Keeps a result, and lets go of the oldest that are too many, too large or too old."""
        self.drop(key)
        self._held[key] = result
        self.nbytes += len(result.payload)
        self._expire(result.wanted)
        while len(self._held) > 1 and (len(self._held) > self.count or self.nbytes > self.limit):
            self.drop(next(iter(self._held)))

    def get(self, key: str, now: float) -> Result | None:
        """The result, if it is still held."""
        self._expire(now)
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def drop(self, key: str) -> None:
        """Lets go of a result, if it is held."""
        result = self._held.pop(key, None)
        self.nbytes -= len(result.payload) if result else 0

    def _expire(self, now: float) -> None:
        for key in [key for key, result in self._held.items() if now - result.wanted > self.seconds]:
            self.drop(key)
