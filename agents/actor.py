"""The process of an agent: a worker behind an asynchronous Ray actor, which rebuilds itself after a crash.

It is made from a model string and options, so that Ray can make it again; loading runs in a thread from the first
moment, and its failure is kept and told to whoever asks, since an actor whose constructor raises only dies. Only bytes
go in and out, but for the control calls. Ray is not imported here: ``aiflow.cluster`` makes the class an actor.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from aiflow import tracing
from aiflow.agents import backends, wire
from aiflow.agents.decoding.wire import NEWS, bundle
from aiflow.agents.host import last
from aiflow.agents.worker import Totals, Worker
from aiflow.errors import AiflowError

log = logging.getLogger(__name__)

ACTOR_OPTIONS: Mapping[str, Any] = {"max_restarts": -1, "max_task_retries": 0, "max_concurrency": 1000}
"""How Ray is to run it: for ever, never repeating a call by itself, many calls at once."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What an agent's process is called where people look, and the variables by which it traces what it does."""

    agent: str = ""
    node: str = ""
    traces: Mapping[str, str] = field(default_factory=dict)

    def unique(self) -> str:
        """A name for Ray: no other actor of the cluster has it."""
        return f"{self} {token_hex(4)}"

    def __str__(self) -> str:
        return f"agent {self.agent} on {self.node}" if self.agent else "ModelActor"


class ModelActor:
    """Serves one model. Every method is awaited through a handle (``RayHost``)."""

    def __init__(self, model: str, options: Mapping[str, Any], about: "About | None" = None) -> None:
        self._about = about or About()
        for name, value in self._about.traces.items():
            os.environ.setdefault(name, value)
        tracing.from_environment(self._about.node)
        self._loading = ThreadPoolExecutor(1).submit(self._load, model, options)

    def __repr__(self) -> str:
        return str(self._about)  # what Ray's dashboard and logs show

    @staticmethod
    def _load(model: str, options: Mapping[str, Any]) -> Worker | bytes:
        try:
            return Worker(backends.create(model, **options), model=model)
        except Exception as error:  # whatever it is, the asker must hear it
            if not isinstance(error, AiflowError):
                log.exception("model %s cannot be loaded", model)
            return wire.encode_error("", error)

    async def _worker(self) -> Worker | bytes:
        return await asyncio.wrap_future(self._loading)

    async def ready(self) -> bytes:
        """Nothing once the model is loaded; an encoded error if it could not be."""
        worker = await self._worker()
        return worker if isinstance(worker, bytes) else b""

    async def ask(self, payload: bytes) -> bytes:
        """The whole reply as one message."""
        worker = await self._worker()
        return worker if isinstance(worker, bytes) else await last(worker.handle(payload, deltas=False))

    async def stream(self, payload: bytes) -> AsyncGenerator[bytes]:
        """The reply, message by message."""
        worker = await self._worker()
        if isinstance(worker, bytes):
            yield worker
            return
        async with aclosing(worker.handle(payload)) as messages:
            async for message in messages:
                yield message

    async def cancel(self, request: str) -> bool:
        """Ends a request early; False if it does not run."""
        worker = await self._worker()
        return not isinstance(worker, bytes) and worker.cancel(request)

    async def call(self, part: str, payload: bytes) -> bytes:
        """The reply of a part of the worker."""
        worker = await self._worker()
        return worker if isinstance(worker, bytes) else await worker.call(part, payload)

    async def card(self) -> bytes:
        """What others must know to decode with it."""
        worker = await self._worker()
        return worker if isinstance(worker, bytes) else await worker.party.card()

    async def session(self, payload: bytes) -> AsyncGenerator[bytes]:
        """A session of collaborative decoding: bundles of what the process sends."""
        worker = await self._worker()
        if isinstance(worker, bytes):
            yield bundle([(NEWS, worker)])
            return
        async with aclosing(worker.party.session(payload)) as bundles:
            async for parts in bundles:
                yield parts

    async def push(self, key: str, index: int, frame: bytes, above: bool) -> None:
        """A frame for a session."""
        worker = await self._worker()
        if not isinstance(worker, bytes):
            worker.party.push(key, index, frame, above)

    async def tell(self, payload: bytes) -> bytes:
        """Steers a session."""
        worker = await self._worker()
        return worker if isinstance(worker, bytes) else await worker.party.tell(payload)

    async def drop(self, key: str) -> None:
        """Closes a session."""
        worker = await self._worker()
        if not isinstance(worker, bytes):
            worker.party.drop(key)

    async def sessions(self) -> list[str]:
        """Keys of the sessions that are open, for tests."""
        worker = await self._worker()
        return [] if isinstance(worker, bytes) else list(worker.party.sittings)

    async def totals(self) -> Totals:
        """What it did since it started."""
        worker = await self._worker()
        return Totals() if isinstance(worker, bytes) else worker.totals()

    async def flush(self) -> None:
        """Sends the spans that are left."""
        await asyncio.to_thread(tracing.flush)

    async def pid(self) -> int:
        """The process id, for fault tests."""
        return os.getpid()
