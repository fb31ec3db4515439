"""An agent's side of partitioned inference: it holds the blocks that it is told to, and works for its stage.

One thing at a time, in a thread where time is real. Knows no other agent.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from aiflow import codec
from aiflow.agents.partition import timing, wire
from aiflow.agents.partition.choosing import choosing
from aiflow.clock import Clock, VirtualClock
from aiflow.collaboration.partition.cut import needs
from aiflow.collaboration.partition.stage import Stage
from aiflow.collaboration.partition.wire import WORK, Work
from aiflow.errors import BudgetError, InputError, MessageError
from aiflow.units import show_bytes

T = TypeVar("T")


class Part:
    """``stage``: what it holds; None: nothing."""

    def __init__(self, backend: Any, clock: Clock) -> None:
        """Raises InputError for a back end of another kind."""
        if not hasattr(backend, "checkpoint"):
            raise InputError(
                f"{type(backend).__name__} holds a whole model or none, so it cannot hold some blocks of one; "
                "give the agent a model such as 'blocks:aiflow:nano/family'."
            )
        self._backend, self._clock = backend, clock
        self._checkpoint = backend.checkpoint
        self._life = secrets.token_hex(8)
        self._busy, self._computing = asyncio.Lock(), threading.Lock()
        self._seconds: list[float] | None = None
        self.stage: Stage | None = None
        self.peak = 0
        """The most bytes of weights that were held at once."""

    async def call(self, payload: bytes) -> bytes:
        """Answers one message. Raises AiflowError."""
        kind = codec.decode(payload).kind
        if kind == WORK:
            return await self._work(payload)
        if kind == "blocks-load":
            return wire.encode(await self._load(wire.decode(payload, wire.Load)))
        if kind == "blocks-leave":
            leave = wire.decode(payload, wire.Leave)
            async with self._busy:
                if self.stage is not None:
                    self.stage.close(leave.session)
            return wire.encode(wire.Left())
        wire.decode(payload, wire.Ask)
        return wire.encode(await self._about())

    def close(self) -> None:
        """Lets go of the weights."""
        self.stage = None

    async def _work(self, payload: bytes) -> bytes:
        async with self._busy:
            stage, began = self.stage, self._clock.now()
            if stage is None:
                raise MessageError("this agent holds no blocks; tell it which to load.")
            reply = await self._aside(lambda: stage.receive(payload, began))
            if reply is None:
                return wire.encode(wire.Left())
            if self._backend.pace is not None:
                blocks = stage.piece.end - stage.piece.begin
                least = self._backend.pace.seconds(blocks, Work.decode(payload).tokens)
                await self._clock.sleep_until(began + least)
            return reply

    async def _load(self, asked: wire.Load) -> wire.Loaded:
        checkpoint = self._checkpoint
        if asked.model != checkpoint.model:
            raise MessageError(f"blocks of model {asked.model} were asked of an agent of model {checkpoint.model}.")
        if not asked.begin <= asked.end <= checkpoint.depth:
            raise MessageError(f"blocks {asked.begin}..{asked.end} were asked of a model of {checkpoint.depth}.")
        async with self._busy:
            began, read = self._clock.now(), checkpoint.bytes_read
            fresh = not self._holds(asked)
            if fresh:
                await self._aside(lambda: self._change(asked))
            return wire.Loaded(
                fresh=fresh,
                held=self._held,
                read=checkpoint.bytes_read - read,
                seconds=self._clock.now() - began,
            )

    def _holds(self, asked: wire.Load) -> bool:
        if self.stage is None:
            return asked.begin == asked.end
        piece = self.stage.piece
        return (piece.begin, piece.end, self.stage.tokens) == (asked.begin, asked.end, asked.tokens)

    def _change(self, asked: wire.Load) -> None:
        """Frees what is not needed before it reads what is. Raises BudgetError, WeightsError."""
        limits = [limit for limit in (asked.memory, self._backend.memory) if limit is not None]
        if asked.begin == asked.end:
            self.stage = None
            return
        nbytes = needs(self._checkpoint.sizes, asked.begin, asked.end, asked.tokens)
        if limits and nbytes > min(limits):
            raise BudgetError(
                f"blocks {asked.begin}..{asked.end - 1} and caches of {asked.tokens} tokens need "
                f"{show_bytes(nbytes)}, and this node has {show_bytes(min(limits))}; give it fewer."
            )
        before = None if self.stage is None else self.stage.piece.within(asked.begin, asked.end)
        self.stage = None
        piece = self._checkpoint.piece(asked.begin, asked.end, before)
        self.stage = Stage(
            piece,
            tokens=asked.tokens,
            context=self._backend.context,
            choosing=choosing(self._checkpoint.silent),
        )
        self.peak = max(self.peak, piece.nbytes)

    @property
    def _held(self) -> int:
        return 0 if self.stage is None else self.stage.piece.nbytes

    async def _about(self) -> wire.About:
        checkpoint, sizes = self._checkpoint, self._checkpoint.sizes
        if self._seconds is None:
            async with self._busy:
                pace = self._backend.pace
                if pace is not None or isinstance(self._clock, VirtualClock):
                    self._seconds = timing.given(pace)
                else:
                    self._seconds = await self._aside(lambda: timing.measured(checkpoint, self._clock))
        stage = self.stage
        return wire.About(
            model=checkpoint.model,
            life=self._life,
            context=self._backend.context,
            vocabulary=checkpoint.vocabulary,
            blocks=list(sizes.blocks),
            embed=sizes.embed,
            norm=sizes.norm,
            head=sizes.head,
            tied=sizes.tied,
            cache=sizes.cache,
            activation=sizes.activation,
            seconds=self._seconds,
            memory=self._backend.memory,
            begin=0 if stage is None else stage.piece.begin,
            end=0 if stage is None else stage.piece.end,
            held=self._held,
            peak=self.peak,
        )

    async def _aside(self, work: Callable[[], T]) -> T:
        """In a thread, unless time is simulated: that knows no threads."""
        if isinstance(self._clock, VirtualClock):
            return work()
        return await asyncio.to_thread(self._threaded, work)

    def _threaded(self, work: Callable[[], T]) -> T:
        with self._computing:  # a caller who went away leaves his thread behind
            if torch.get_num_threads() != self._backend.threads:
                torch.set_num_threads(self._backend.threads)
            return work()
