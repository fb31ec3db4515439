"""Time as a dependency: ``RealClock`` waits, ``VirtualClock`` is a discrete-event simulation on asyncio.

Links and emulated nodes take a clock, so that the same code runs against the wall clock in a demo and
instantly, deterministically, in a simulation. Neither clock knows what is waited for.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Seconds since an arbitrary origin, and ways to wait for a moment."""

    def now(self) -> float:
        """Current time in seconds."""

    def sleep_until(self, moment: float) -> Awaitable[None]:
        """Waits until ``now() >= moment``; at once if it has passed."""


class RealClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Seconds of ``time.monotonic``."""
        return time.monotonic()

    async def sleep_until(self, moment: float) -> None:
        """Sleeps on the running event loop."""
        delay = moment - self.now()
        if delay > 0:
            await asyncio.sleep(delay)


class VirtualClock:
    """Simulated time: it jumps to the next waiting moment when every task of the simulation is waiting.

    Tasks must wait on this clock, on each other, or be runnable; real I/O has no place inside ``run``.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Simulated seconds."""
        return self._now

    async def sleep_until(self, moment: float) -> None:
        """Waits until the simulation reaches ``moment``."""
        if moment <= self._now:
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (moment, next(self._order), future))
        await future

    async def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Runs ``main`` to its end in simulated time. Raises RuntimeError on a deadlock (nobody waits on the clock)."""
        task = asyncio.ensure_future(main)
        try:
            while not task.done():
                await _settled()
                if not task.done():
                    self._advance()
            return task.result()
        finally:
            task.cancel()

    def _advance(self) -> None:
        while self._waiting and self._waiting[0][2].done():  # cancelled sleepers
            heapq.heappop(self._waiting)
        if not self._waiting:
            raise RuntimeError("simulation deadlock: a task waits for something that no clock event will bring")
        self._now, _, future = heapq.heappop(self._waiting)
        future.set_result(None)


async def _settled() -> None:
    """Lets every runnable callback of the loop run, and what these make runnable."""
    ready = getattr(asyncio.get_running_loop(), "_ready", None)  # asyncio has no public way to see its queue
    for _ in itertools.count() if ready is not None else range(1000):
        await asyncio.sleep(0)
        if ready is not None and not ready:
            return
