"""Where tiers run: one model, the tiers of many sessions, and rounds that serve all who have something to read.

A node takes frames through `Seat.deliver` and gives them to the functions it was handed; what lies between is not its
business. It lives on a clock, so the same code runs in simulated and in real time.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from aiflow.clock import Clock, RealClock
from aiflow.collaboration.decoding.engine import Engine, Read
from aiflow.collaboration.decoding.tier import Tier, Work
from aiflow.errors import ProtocolError

Send = Callable[[bytes], None]
Pace = Callable[[Sequence[Work]], float]
"""Seconds that a round takes on an emulated machine."""


@dataclass(kw_only=True, eq=False)
class Seat:
    """A session's tier at a node; ``up`` and ``down`` send its frames, ``changed`` hears of every change."""

    tier: Tier
    node: "Node"
    up: Send | None = None
    down: Send | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    changed: Callable[[Tier], None] = lambda _: None
    failed: Callable[[Exception], None] | None = None
    """Hears why the model could not read this session; None: that ends the node."""
    refused: list[str] = field(default_factory=list)
    rounds: int = 0
    heard: float = 0.0
    """When the tier above was last heard of, or asked."""
    heard_below: float = 0.0

    def deliver(self, frame: bytes, *, above: bool) -> None:
        """Reads a frame from the tier above or below. One that is wrong changes nothing and is noted in ``refused``."""
        self.tier.now = self.node.clock.now()
        if above:
            self.heard, self.tier.silent_above = self.tier.now, False
        else:
            self.heard_below, self.tier.silent_below = self.tier.now, False
        try:
            self.tier.receive(frame)
        except ProtocolError as error:
            self.refused.append(str(error))
        self.flush()
        self.node.wake()

    def flush(self) -> None:
        """Sends what waits to be sent."""
        self.tier.now = self.node.clock.now()
        up, down = self.tier.outgoing()
        for frames, send in ((up, self.up), (down, self.down)):
            for frame in frames:
                if send is not None:
                    send(frame)
        self.changed(self.tier)

    @property
    def waits(self) -> bool:
        """Whether the tier above has still to speak."""
        return self.up is not None and not self.tier.top and not self.tier.done

    @property
    def serves(self) -> bool:
        """Whether the tier below may still speak, and has not been given up."""
        return self.down is not None and not self.tier.bottom and not self.tier.done and not self.tier.silent_below


class Node:
    """An engine and the tiers that it serves."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock | None = None,
        *,
        pace: Pace | None = None,
        patience: float = 2.0,
        threaded: bool = False,
        batch: int = 64,
    ) -> None:
        """Makes a node without sessions.

        Args:
            engine: of all its tiers.
            clock: default: the machine's.
            pace: what a round takes at least, on an emulated machine.
            patience: seconds of silence after which a tier above is asked again, and those here go on alone.
            threaded: the model computes in a thread, so that frames arrive meanwhile.
            batch: sessions of one round.
        """
        self.clock: Clock = clock or RealClock()
        self.engine, self.pace, self.patience, self.threaded, self.batch = engine, pace, patience, threaded, batch
        self.seats: list[Seat] = []
        self.rounds = 0
        self._left: list[int] = []  # sessions that have gone, for the engine to forget
        self._reads = False
        self._news = asyncio.Event()
        self._closed = False

    def seat(self, tier: Tier, **given: Any) -> Seat:
        """Takes a session in (arguments of `Seat`)."""
        now = self.clock.now()
        seat = Seat(tier=tier, node=self, heard=now, heard_below=now, **given)
        self.seats.append(seat)
        self.wake()
        return seat

    def leave(self, seat: Seat) -> None:
        """Ends a session here."""
        if seat in self.seats:
            self.seats.remove(seat)
            self._left.append(seat.tier.job.session)
            self._forget()

    def wake(self) -> None:
        """Says that something may be there to do."""
        self._news.set()

    def close(self) -> None:
        """Ends `run` after the round in progress."""
        self._closed = True
        self.wake()

    async def run(self) -> None:
        """Serves the sessions until `close`; those that waited longest come first."""
        try:
            while not self._closed:
                self._news.clear()
                self._mind_silence()
                ready = [(seat, work) for seat in self.seats if (work := seat.tier.want()) is not None]
                if ready:
                    await self._round(ready[: self.batch])
                else:
                    await self._rest()
        finally:
            self._reads = False
            self._forget()

    def _forget(self) -> None:
        """Frees the caches of sessions that have gone; not while the model reads."""
        while self._left and not self._reads:
            self.engine.close(self._left.pop())

    async def _round(self, ready: list[tuple[Seat, Work]]) -> None:
        began = self.clock.now()
        asked = [
            Read(session=seat.tier.job.session, tokens=work.tokens, rows=work.rows, extra=seat.extra)
            for seat, work in ready
        ]
        self._reads = True
        found = await self._read(asked)
        self._reads = False
        self._forget()
        if self.pace is not None:
            await self.clock.sleep_until(began + self.pace([work for _, work in ready]))
        took = self.clock.now() - began
        self.rounds += 1
        for (seat, work), logits in zip(ready, found, strict=True):
            if seat not in self.seats:
                continue
            self.seats.remove(seat)
            if isinstance(logits, Exception):
                self._fail(seat, logits)
                continue
            self.seats.append(seat)  # to the end of the queue
            seat.rounds += 1
            seat.tier.took = took
            seat.tier.take(work, logits)
            seat.flush()
        await asyncio.sleep(0)

    def _fail(self, seat: Seat, error: Exception) -> None:
        if seat.failed is None:
            raise error
        self._left.append(seat.tier.job.session)
        self._forget()
        seat.failed(error)

    async def _read(self, asked: list[Read]) -> Sequence[Tensor | Exception]:
        """The logits; where reading all at once fails, each alone, so that one session cannot end the others."""
        try:
            if self.threaded:
                return await asyncio.to_thread(self.engine.read, asked)
            return self.engine.read(asked)
        except Exception as error:  # noqa: BLE001 - whatever a model raises
            if len(asked) == 1:
                return [error]
            return [(await self._read([one]))[0] for one in asked]

    async def _rest(self) -> None:
        """Waits for news, or until a neighbour has been silent for too long."""
        heard = [s.heard for s in self.seats if s.waits] + [s.heard_below for s in self.seats if s.serves]
        await self._wait(min(heard) + self.patience if heard else None)

    def _mind_silence(self) -> None:
        """Asks tiers above that say nothing again, with all that they have not judged, and goes on without drafts."""
        now = self.clock.now()
        for seat in self.seats:
            if seat.waits and seat.up is not None and now >= seat.heard + self.patience:
                seat.heard, seat.tier.silent_above = now, True
                seat.up(seat.tier.poll())
            if seat.serves and now >= seat.heard_below + self.patience:
                seat.tier.silent_below = True

    async def _wait(self, due: float | None) -> None:
        if due is None:
            await self._news.wait()
            return
        news = asyncio.ensure_future(self._news.wait())
        time = asyncio.ensure_future(self.clock.sleep_until(due))
        try:
            await asyncio.wait({news, time}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (news, time):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
