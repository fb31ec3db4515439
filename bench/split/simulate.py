"""One split inference in simulated time, over an emulated link that may be down and a server that may be started anew.

The parties are the real ones and compute for real; how long that takes on the clock is given by a `Pace`. What is on
the link while it goes down is lost. Nothing here knows what is asked.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiflow.bench.split.talks import BANNED, LIMIT, Prompt
from aiflow.clock import VirtualClock
from aiflow.cluster.links import EmulatedLink
from aiflow.collaboration.familial.back import Back, Backs
from aiflow.collaboration.familial.drive import Held, Inbox, Turn, drive, serve
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.front import Front, Manner, Task, Transport
from aiflow.nano import tokenizer as tok

DEADLINE = 600.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of a pass and of each token in it: at the device, at the server above the exit, and in all its blocks.

    ``vision``: of looking at a picture.
    """

    device: tuple[float, float] = (0.008, 0.0002)
    above: tuple[float, float] = (0.010, 0.0002)
    whole: tuple[float, float] = (0.014, 0.0003)
    vision: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Path:
    """A link in bytes/s and seconds; ``down``: when it is down, as (from, to)."""

    rate: float = 1e6
    rtt: float = 0.04
    down: Sequence[tuple[float, float]] = ()
    restarts: Sequence[float] = ()


@dataclass(kw_only=True)
class Found:
    """What a session gave.

    ``lost``: messages that the link lost; ``changed``: final tokens that changed later; ``silences``: times that the
    device went on alone.
    """

    tokens: list[int] = field(default_factory=list)
    seconds: float = 0.0
    first: float = 0.0
    device_seconds: float = 0.0
    link_seconds: float = 0.0
    server_seconds: float = 0.0
    up: int = 0
    down: int = 0
    lost: int = 0
    changed: int = 0
    silences: int = 0
    taken_back: int = 0
    by_device: int = 0
    backs: Backs | None = None
    name: str = ""


class _Line:
    """One direction."""

    def __init__(self, clock: VirtualClock, link: EmulatedLink, path: Path, inbox: Inbox, *, down: bool) -> None:
        self._clock, self._link, self._path, self._inbox, self._back = clock, link, path, inbox, down
        self.nbytes = self.lost = 0
        self.spans: list[tuple[float, float]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, frame: bytes) -> float:
        """Sends a frame; when it should arrive."""
        now = self._clock.now()
        arrival = self._link.reserve(len(frame), down=self._back)
        self.nbytes += len(frame)
        if any(begin < arrival and now < end for begin, end in self._path.down):
            self.lost += 1
            return arrival
        self.spans.append((now, arrival))
        task = asyncio.ensure_future(self._carry(frame, arrival))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return arrival

    async def _carry(self, frame: bytes, arrival: float) -> None:
        await self._clock.sleep_until(arrival)
        self._inbox.put(frame)


class _Server:
    """The server's process: sessions, its time, and when it was started anew."""

    def __init__(self, clock: VirtualClock, family: Family, pace: Pace, path: Path, exit_: int) -> None:
        self._clock, self._family, self._pace, self._exit = clock, family, pace, exit_
        self._restarts = sorted(path.restarts)
        self.backs = self._fresh()
        self.seconds = 0.0

    def _fresh(self) -> Backs:
        return Backs(lambda name: Back(self._family, name, banned=BANNED))

    async def answer(self, frames: Sequence[bytes]) -> list[bytes]:
        """Reads what has come and judges it once."""
        now = self._clock.now()
        if self._restarts and now >= self._restarts[0]:
            self._restarts.pop(0)
            self.backs = self._fresh()
        touched = {id(b): b for b in [self.backs.receive(f, now) for f in frames] if b is not None}
        found = []
        for back in touched.values():
            above, below = back.waiting(self._exit)
            back.work()
            took = cost(self._pace.above, above) + below * (self._pace.whole[1] - self._pace.above[1])
            took += (self._pace.whole[0] - self._pace.above[0]) * bool(below)
            self.seconds += took
            await self._clock.sleep_until(self._clock.now() + took)
            found.append(back.answer(took))
        return found


def cost(pace: tuple[float, float], tokens: int) -> float:
    """Seconds of a pass of so many tokens."""
    return pace[0] + tokens * pace[1] if tokens else 0.0


def play(
    family: Family,
    member: Member,
    prompt: Prompt,
    *,
    manner: Manner | None = None,
    path: Path | None = None,
    pace: Pace | None = None,
    choose: Callable[[], Transport] | None = None,
    settle: bool = True,
) -> Found:
    """One session from the prompt to the final token, and with ``settle`` until the server has all of it."""
    clock = VirtualClock()
    work = _play(clock, family, member, prompt, manner, path or Path(), pace or Pace(), choose, settle)
    return asyncio.run(clock.run(work))


async def _play(
    clock: VirtualClock,
    family: Family,
    member: Member,
    prompt: Prompt,
    manner: Manner | None,
    path: Path,
    pace: Pace,
    choose: Callable[[], Transport] | None,
    settle: bool,
) -> Found:
    found = Found(name="s")
    task = Task(session="s", ids=prompt.ids, limit=LIMIT, ends=frozenset([tok.EOS]), banned=BANNED)
    front = Front(family, member, task, manner, pixel_values=prompt.pixel_values)
    link = EmulatedLink(path.rate, path.rtt, clock=clock)
    frames, verdicts = Inbox(), Inbox()
    up = _Line(clock, link, path, frames, down=False)
    back = _Line(clock, link, path, verdicts, down=True)
    server = _Server(clock, family, pace, path, member.exit)

    async def compute(step: Callable[[], None]) -> None:
        before = front.fed
        looks = pace.vision if prompt.pixel_values is not None and not found.device_seconds else 0.0
        step()
        took = cost(pace.device, front.fed - before) + looks
        found.device_seconds += took
        await clock.sleep_until(clock.now() + took)

    silent = False

    def told(turn: Turn) -> None:
        nonlocal silent
        found.silences += turn.silent and not silent
        silent = turn.silent
        found.changed += sum(a != b for a, b in zip(found.tokens, front.answer, strict=False))
        found.tokens = front.answer
        if len(front.tokens) > front.start and not found.first:
            found.first = clock.now()
        if turn.done and not found.seconds:
            found.seconds = clock.now()

    serving = asyncio.ensure_future(serve(frames, server.answer, back.put))
    try:
        work = drive(Held(front, compute, choose), up.put, verdicts, clock, told, patience=0.1, settle=settle)
        await asyncio.wait_for(work, DEADLINE)
    finally:
        serving.cancel()
    found.tokens, found.taken_back, found.by_device = front.answer, front.taken_back, front.accepted
    found.by_device += front.decided_here
    found.up, found.down, found.lost = up.nbytes, back.nbytes, up.lost + back.lost
    found.link_seconds, found.server_seconds = _union([*up.spans, *back.spans]), server.seconds
    found.backs = server.backs
    return found


def _union(spans: Sequence[tuple[float, float]]) -> float:
    total, reached = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
