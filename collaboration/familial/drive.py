"""Moves the messages of one split inference: an asynchronous loop on each side. Knows clocks; no link, no Ray.

A device that hears nothing for its patience goes on alone and asks where the server is until it answers.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiflow.clock import Clock
from aiflow.collaboration.familial.front import Front, Transport
from aiflow.errors import ProtocolError

PATIENCE = 1.0
"""Seconds, beyond those that the link needs, after which a server counts as not heard of."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a device says of itself after a step.

    Attributes:
        frames: to be sent.
        wants: it has more to compute.
        silent: it goes on alone.
        done: the answer is final.
        settled: it is, and the server has all of it.
    """

    frames: Sequence[bytes]
    wants: bool
    silent: bool
    done: bool
    settled: bool


class Device(Protocol):
    """A front, here or in another process."""

    async def step(self, verdicts: Sequence[bytes], *, lost: bool) -> Turn:
        """Reads verdicts, computes once if it wants to, and says what is to be sent; ``lost``: nothing was heard."""


class Inbox:
    """What has arrived, in order."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self.news = asyncio.Event()

    def put(self, frame: bytes) -> None:
        """Never waits."""
        self._waiting.append(frame)
        self.news.set()

    def take(self) -> list[bytes]:
        """All of it."""
        found, self._waiting = self._waiting, []
        self.news.clear()
        return found


async def drive(
    device: Device,
    send: Callable[[bytes], float],
    inbox: Inbox,
    clock: Clock,
    told: Callable[[Turn], None],
    *,
    patience: float = PATIENCE,
    settle: bool = False,
) -> None:
    """Runs a device until its answer is final; ``settle``: until the server has all of it as well.

    Args:
        device: the front.
        send: puts a frame on the link and says when it should have arrived (clock seconds).
        inbox: where verdicts arrive.
        clock: of the waits.
        told: called after each step.
        patience: seconds.
        settle: as said above.
    """
    turn, heard = await device.step([], lost=False), clock.now()
    while True:
        heard = max([heard, *map(send, turn.frames)])
        told(turn)
        if turn.settled or (turn.done and not settle):
            return
        if not turn.wants:
            await _wait(inbox.news, clock, heard + patience)
        verdicts = inbox.take()
        lost = not verdicts and clock.now() >= heard + patience
        if verdicts or lost:
            heard = clock.now() if lost else max(heard, clock.now())
        turn = await device.step(verdicts, lost=lost)


async def serve(
    inbox: Inbox, answer: Callable[[Sequence[bytes]], Awaitable[Sequence[bytes]]], send: Callable[[bytes], object]
) -> None:
    """Answers what arrives, all that is there at a time, without end."""
    while True:
        await inbox.news.wait()
        for verdict in await answer(inbox.take()):
            send(verdict)


class Held:
    """A front in this process as a device."""

    def __init__(
        self,
        front: Front,
        work: Callable[[Callable[[], None]], Awaitable[None]],
        choose: Callable[[], Transport] | None = None,
    ) -> None:
        """``work`` runs what computes; ``choose``: what to send from now on, when the server is heard of again."""
        self.front, self._work, self._choose = front, work, choose

    async def step(self, verdicts: Sequence[bytes], *, lost: bool, hold: bool = False) -> Turn:
        """See `Device`; damaged verdicts count as lost. ``hold``: nothing is to be sent yet."""
        front, silent = self.front, self.front.silent
        for verdict in verdicts:
            with contextlib.suppress(ProtocolError):
                front.receive(verdict)
        if silent and not front.silent and self._choose is not None:
            front.switch(self._choose())
        polls = []
        if lost:
            front.lost()
            polls += [] if hold else [front.poll()]
        if front.wants:
            await self._work(front.step)
        return Turn(
            frames=[] if hold else [*front.outgoing(), *polls],
            wants=front.wants,
            silent=front.silent,
            done=front.done,
            settled=front.settled,
        )


async def _wait(news: asyncio.Event, clock: Clock, due: float) -> None:
    """Until there is news, or a moment has come."""
    tasks = [asyncio.ensure_future(news.wait()), asyncio.ensure_future(clock.sleep_until(due))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
