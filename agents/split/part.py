"""An agent's side of split inference, as a device and as a server: bytes in, bytes out (`agents.interface.Part`).

A device is told of by the asker, who opens and steps its answers. A server needs not be opened: a session begins with
the first message that comes of it, and one that was lost is rebuilt by its device.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from aiflow import codec
from aiflow.agents.backends.transformers.loading import Loaded
from aiflow.agents.split import model, wire
from aiflow.agents.split.device import Talk
from aiflow.clock import Clock, VirtualClock
from aiflow.collaboration.familial.back import LEASE, Back, Backs
from aiflow.collaboration.familial.family import Family
from aiflow.errors import InputError, MessageError, ProtocolError

log = logging.getLogger(__name__)
T = TypeVar("T")
MOST = 256
"""Answers that a device has open; beyond them the oldest is given up."""


class Part:
    """Computes for one session at a time, in a thread where time is real."""

    def __init__(self, backend: Any, clock: Clock) -> None:
        """Raises InputError for a back end without a model in this process."""
        if not hasattr(backend, "loaded"):
            raise InputError(
                f"{type(backend).__name__} has no model in its process, so it cannot take part in split inference; "
                "use a model of the transformers back end."
            )
        self._backend, self._clock = backend, clock
        self._lock = threading.Lock()
        self._about: wire.About | None = None
        self.talks: dict[str, Talk] = {}
        self.backs: Backs | None = None

    async def call(self, payload: bytes) -> bytes:
        """Answers one message. Raises AiflowError."""
        kind = codec.decode(payload).kind
        if kind == "split-ask":
            wire.decode(payload, wire.Ask)
            return wire.encode(await self._aside(self._known))
        if kind == "split-open":
            return wire.encode(await self._open(wire.decode(payload, wire.Open)))
        if kind == "split-step":
            step = wire.decode(payload, wire.Step)
            return wire.encode(await self._talk(step.key).step(step))
        if kind == "split-leave":
            leave = wire.decode(payload, wire.Leave)
            talk = self.talks.pop(leave.key, None)
            return wire.encode(wire.Frames(frames=talk.leave().frames if talk else []))
        frames = wire.decode(payload, wire.Frames).frames
        return wire.encode(wire.Frames(frames=await self._aside(lambda: self._serve(frames))))

    def close(self) -> None:
        """Forgets all sessions."""
        self.talks.clear()
        self.backs = None

    async def _open(self, asked: wire.Open) -> wire.Opened:
        if asked.key in self.talks:
            raise MessageError(f"session {asked.key!r} is already open")
        loaded, _ = self._backend.loaded()
        talk = await self._aside(lambda: Talk(asked, loaded, self._clock, self._aside))
        while len(self.talks) >= MOST:
            del self.talks[next(iter(self.talks))]
        self.talks[asked.key] = talk
        state = await talk.begin()
        front = talk.front
        return wire.Opened(
            prompt=front.start,
            images=front.images,
            limit=talk.limit,
            exit=front.exit,
            about=model.about(loaded, None),
            state=state,
        )

    def _talk(self, key: str) -> Talk:
        if key not in self.talks:
            raise MessageError(f"there is no session {key!r} at this device")
        return self.talks[key]

    def _serve(self, frames: list[bytes]) -> list[bytes]:
        touched: dict[int, Back] = {}
        for frame in frames:
            try:
                back = self._sessions().receive(frame, self._clock.now())
            except ProtocolError as error:  # as if it had been lost: the device sends again what is missing
                log.warning("a message of split inference was refused: %s", error)
                continue
            if back is not None:
                touched[id(back)] = back
        return [self._answer(back) for back in touched.values()]

    def _answer(self, back: Back) -> bytes:
        began = self._clock.now()
        back.work()
        return back.answer(self._clock.now() - began)

    def _sessions(self) -> Backs:
        if self.backs is None:
            loaded = self._whole()
            family, said = Family(loaded.model).eval(), model.vocabulary(loaded)

            def make(name: str) -> Back:
                return Back(family, name, banned=loaded.silent, vocabulary=said, context=loaded.context)

            self.backs = Backs(make, lease=LEASE)
        return self.backs

    def _whole(self) -> Loaded:
        loaded: Loaded = self._backend.loaded()[0]
        if loaded.member is not None:
            raise InputError(
                f"a server needs the full model, and this agent was loaded as member {loaded.member} of a family; "
                f"leave out '#{loaded.member}', or make it the device."
            )
        return loaded

    def _known(self) -> wire.About:
        if self._about is None:
            self._whole()
            self._about = model.about(self._backend.loaded()[0], self._clock)
        return self._about

    async def _aside(self, work: Callable[[], T]) -> T:
        """In a thread, unless time is simulated: that knows no threads."""
        if isinstance(self._clock, VirtualClock):
            return work()
        return await asyncio.to_thread(self._locked, work)

    def _locked(self, work: Callable[[], T]) -> T:
        _, threads = self._backend.loaded()
        with self._lock:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            return work()
