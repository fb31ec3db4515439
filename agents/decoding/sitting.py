"""One session at one agent: its seat at the node, what waits to be sent, and the text of what is final."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from aiflow.agents import wire as replies
from aiflow.agents.backends.transformers.writer import Writer
from aiflow.agents.decoding import wire
from aiflow.clock import Clock
from aiflow.types import Finish

ABANDONED = 900.0
"""Seconds after which a session that nobody speaks to, because its asker is gone, is closed."""
PAUSE = 60.0
"""Seconds of quiet after which that is looked at."""
_CONTEXT = 4  # tokens before others that their text may depend on

if TYPE_CHECKING:
    from aiflow.collaboration.decoding.node import Seat


class Outbox:
    """Parts on their way out; a bundle at a time."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytes]] = []
        self._news = asyncio.Event()

    def put(self, tag: int, body: bytes) -> None:
        """Never waits."""
        self._parts.append((tag, body))
        self._news.set()

    async def bundles(self) -> AsyncIterator[bytes]:
        """All that is there, each time there is something, and now and then nothing; without end."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await self._news.wait()
            self._news.clear()
            parts, self._parts = self._parts, []
            yield wire.bundle(parts)


class Sitting:
    """A session's state in an agent's process."""

    def __init__(self, key: str, clock: Clock) -> None:
        self.key, self.outbox = key, Outbox()
        self._clock = clock
        self._heard = clock.now()
        self.seat: Seat | None = None
        self._due: Counter[bool] = Counter()
        self._early: dict[tuple[bool, int], bytes] = {}

    def deliver(self, index: int, frame: bytes, *, above: bool) -> None:
        """Hands frames from above, or from below, to the seat in the order of their indices, which count from 0.

        Calls between processes overtake each other, and a frame after a gap would be lost.
        """
        self._heard = self._clock.now()
        self._early[above, index] = frame
        while self.seat is not None and (next_ := self._early.pop((above, self._due[above]), None)) is not None:
            self._due[above] += 1
            self.seat.deliver(next_, above=above)

    def send(self, tag: int) -> Callable[[bytes], None]:
        """The function that sends frames up or down."""
        return lambda frame: self.outbox.put(tag, frame)

    def tell(self, message: wire.Strict) -> None:
        """Sends the asker a message."""
        self._heard = self._clock.now()
        self.outbox.put(wire.NEWS, wire.encode(message))

    @property
    def abandoned(self) -> bool:
        """Whether its asker seems to be gone: the tiers speak to each other every two seconds, through it."""
        return self._clock.now() > self._heard + ABANDONED

    def fail(self, error: BaseException) -> None:
        """Tells the asker why the session cannot go on."""
        self.outbox.put(wire.NEWS, replies.encode_error(self.key, error))


class Said(Protocol):
    """What a scribe reads of a device: a `Tier`, or the front of a split inference.

    tokens:  prompt ... ``start`` | answer ... ``final`` | ... ``above`` | ... ``own``
    """

    @property
    def tokens(self) -> list[int]:
        """Of the prompt and the answer."""

    @property
    def final(self) -> int:
        """Tokens below this place never change."""

    @property
    def above(self) -> int:
        """Those below it are the neighbour's, those from there on its own."""

    @property
    def own(self) -> int:
        """The place after the last token."""

    @property
    def start(self) -> int:
        """Place of the answer's first token."""

    @property
    def answer(self) -> list[int]:
        """Final tokens of the answer."""


class Scribe:
    """Writes the text of final tokens, one by one, and says when the answer is over."""

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        *,
        names: Sequence[str],
        ends: Iterable[int],
        stop: Sequence[str],
        limit: int,
        provisional: bool,
    ) -> None:
        """``names``: of the agents, the device first; ``limit``: tokens of the answer at most."""
        self._decode, self._limit, self._names = decode, limit, names
        self._ends, self._provisional = frozenset(ends), provisional
        self._writer = Writer(decode, stop)
        self._count = 0
        self._shown: list[tuple[str, int, str]] = []
        self._finish: Finish | None = None

    def over(self) -> bool:
        """Whether the answer has ended."""
        return self._finish is not None

    def news(self, tier: Said) -> wire.News | None:
        """What changed at the device's tier; None: nothing that the asker wants to know."""
        if self.over():
            return None
        text = "".join(self._write(token) for token in tier.answer[self._count :] if not self.over())
        if self.over() and not self._writer.stopped:
            text += self._writer.end()
            self._finish = "stop" if self._writer.stopped else self._finish
        shown = self._open(tier) if self._provisional and not self.over() else []
        if not text and not self.over() and shown == self._shown:
            return None
        self._shown = shown
        return wire.News(final=text, provisional=shown, finish=self._finish, tokens=self._count)

    def _write(self, token: int) -> str:
        self._count += 1
        if token in self._ends:
            self._finish = "stop"
            return ""
        text = self._writer.push(token)
        if self._writer.stopped:
            self._finish = "stop"
        elif self._count >= self._limit:
            self._finish = "length"
        return text

    def _open(self, tier: Said) -> list[tuple[str, int, str]]:
        spans = [(tier.final, tier.above, self._names[min(1, len(self._names) - 1)])]
        spans.append((tier.above, tier.own, self._names[0]))
        shown = [(self._after(tier, begin, end), begin - tier.start, name) for begin, end, name in spans]
        return [one for one in shown if one[0]]

    def _after(self, tier: Said, begin: int, end: int) -> str:
        """The text of these tokens, where they stand."""
        first = max(tier.start, begin - _CONTEXT)
        return self._decode(tier.tokens[first:end])[len(self._decode(tier.tokens[first:begin])) :]
