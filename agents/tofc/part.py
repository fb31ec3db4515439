"""An agent's side of feature compression, as device and as server: bytes in, bytes out (`agents.interface.Part`)."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import torch

from aiflow import codec
from aiflow.agents import wire as replies
from aiflow.agents.backends.transformers.requests import Mailbox, Request
from aiflow.agents.tofc import wire
from aiflow.agents.tofc.sides import Device, Server
from aiflow.clock import Clock, VirtualClock
from aiflow.errors import InputError, MessageError

T = TypeVar("T")


class Part:
    """Works on one image at a time, in a thread where time is real. Each side is made when it is first needed."""

    def __init__(self, backend: Any, clock: Clock) -> None:
        """Raises InputError for a back end without a model in this process."""
        if not hasattr(backend, "loaded"):
            raise InputError(
                f"{type(backend).__name__} has no model in its process, so it cannot compress features; "
                "use a model of the transformers back end."
            )
        self._backend, self._clock = backend, clock
        self._thread = ThreadPoolExecutor(1, "aiflow-tofc")
        self._device: Device | None = None
        self._server: Server | None = None
        self.running: dict[str, Request] = {}

    async def call(self, payload: bytes) -> bytes:
        """Answers one message. Raises AiflowError."""
        kind = codec.decode(payload).kind
        if kind == wire.kind(wire.Card):
            card = wire.decode(payload, wire.Card)
            side: Callable[[], Device | Server] = self.device if card.side == "device" else self.server
            return wire.encode((await self._aside(side)).about)
        if kind == wire.kind(wire.See):
            return await self._see(wire.decode(payload, wire.See))
        if kind == wire.kind(wire.Leave):
            key = wire.decode(payload, wire.Leave).key
            if key in self.running:
                self.running[key].cancelled = True
            return b""
        return await self._look(wire.decode(payload, wire.Look))

    def close(self) -> None:
        """Gives up what runs, and frees the models."""
        for request in self.running.values():
            request.cancelled = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._device = self._server = None

    def device(self) -> Device:
        """Its device side. Raises UnsupportedModelError, WeightsError."""
        if self._device is None:
            self._device = Device(self._backend.loaded()[0])
        return self._device

    def server(self) -> Server:
        """Its server side. Raises as `device`, and InputError."""
        if self._server is None:
            self._server = Server(self._backend.loaded()[0])
        return self._server

    async def _see(self, asked: wire.See) -> bytes:
        began = self._clock.now()
        data = await self._aside(lambda: self.device().see(asked))
        look = wire.encode(wire.Look(ask=asked.ask, image=data))
        return wire.encode(wire.Seen(look=look, nbytes=len(data), seconds=self._clock.now() - began))

    async def _look(self, asked: wire.Look) -> bytes:
        began, ask = self._clock.now(), replies.decode_ask(asked.ask)
        if ask.id in self.running:
            raise MessageError(f"request {ask.id!r} is already running")
        request = self.running[ask.id] = Request(ask.messages, ask.options, Mailbox())
        try:
            await self._aside(lambda: self.server().answer(asked.image, request))
        finally:
            request.cancelled = True  # a caller who went away is not worked for
            del self.running[ask.id]
        answer = request.answer()
        usage = replace(answer.usage, seconds=self._clock.now() - began)
        return replies.encode_answer(ask.id, replace(answer, usage=usage))

    async def _aside(self, work: Callable[[], T]) -> T:
        """In the thread, unless time is simulated: that knows no threads."""
        if isinstance(self._clock, VirtualClock):
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._threaded, work)

    def _threaded(self, work: Callable[[], T]) -> T:
        _, threads = self._backend.loaded()
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        return work()
