"""Text that ends exactly before a stop string, also where a server streams it in pieces or leaves it in."""

from collections.abc import Sequence


class Stops:
    """Passes text on as it becomes certain; ``stopped`` once a stop string is complete. The pieces do not matter."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.stopped = False
        self._stop = tuple(stop)
        self._held = ""

    def feed(self, text: str) -> str:
        """Takes the next piece; returns what cannot be the beginning of a stop string."""
        self._held += text
        starts = [(self._held.index(stop), stop) for stop in self._stop if stop in self._held]
        if starts:
            self.stopped = True
            _, first = min((start + len(stop), start) for start, stop in starts)
            certain, self._held = self._held[:first], ""
            return certain
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        certain, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return certain

    def rest(self) -> str:
        """What was held back when the text has ended."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
