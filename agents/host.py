"""Where a worker lives: in this process, or in a Ray actor. An agent talks to either through ``Host``."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Protocol

from aiflow import tracing
from aiflow.agents import wire
from aiflow.agents.worker import Totals, Worker
from aiflow.errors import AgentDiedError, BackendError

RESTART_SECONDS = 120.0
"""How long a call without a deadline waits for a dead process to come back before it gives up."""
_POLL_SECONDS = 0.1
_FLUSH_SECONDS = 2.0


class Host(Protocol):
    """Carries an agent's messages to its worker and back, as bytes; links are not its business."""

    @property
    def starting(self) -> bool:
        """True until the model has been loaded for the first time, or its process has died in the attempt."""

    async def ready(self) -> None:
        """Waits until the worker can answer. Raises what its model's loading raised, or AgentDiedError."""

    async def ask(self, payload: bytes) -> bytes:
        """The one message that ends the reply: ``answer`` or ``error``. Raises AgentDiedError."""

    def stream(self, payload: bytes) -> AsyncGenerator[bytes]:
        """Every message of the reply. Raises AgentDiedError."""

    def cancel(self, request: str) -> None:
        """Ends a request early; neither waits nor fails."""

    async def call(self, part: str, payload: bytes) -> bytes:
        """Hands a part of the worker (`agents.worker.PARTS`) a message; its reply. Raises AgentDiedError."""

    async def card(self) -> bytes:
        """What others must know to decode with it (`agents.decoding.wire`). Raises AgentDiedError."""

    def session(self, payload: bytes) -> AsyncGenerator[bytes]:
        """Opens a session of collaborative decoding; bundles of what the process sends. Raises AgentDiedError."""

    def push(self, key: str, index: int, frame: bytes, above: bool) -> None:
        """Hands a session its frame number ``index`` from the tier above or below; neither waits nor fails."""

    async def tell(self, payload: bytes) -> bytes:
        """Steers a session. Raises AgentDiedError."""

    def drop(self, key: str) -> None:
        """Closes a session; neither waits nor fails."""

    async def totals(self) -> Totals:
        """The worker's totals since it started. Raises AgentDiedError."""

    async def close(self) -> None:
        """Frees the model."""


class LocalHost:
    """A worker in this process: for tests, notebooks and simulated time."""

    starting = False

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    async def ready(self) -> None:
        """Returns at once."""

    async def ask(self, payload: bytes) -> bytes:
        """The last message of the reply."""
        return await last(self.worker.handle(payload, deltas=False))

    async def stream(self, payload: bytes) -> AsyncGenerator[bytes]:
        """Every message of the reply."""
        async with aclosing(self.worker.handle(payload)) as messages:
            async for message in messages:
                yield message

    def cancel(self, request: str) -> None:
        """Ends a request early."""
        self.worker.cancel(request)

    async def call(self, part: str, payload: bytes) -> bytes:
        """A part's reply."""
        return await self.worker.call(part, payload)

    async def card(self) -> bytes:
        """What others must know to decode with it."""
        return await self.worker.party.card()

    async def session(self, payload: bytes) -> AsyncGenerator[bytes]:
        """Bundles of what a session sends."""
        async with aclosing(self.worker.party.session(payload)) as bundles:
            async for parts in bundles:
                yield parts

    def push(self, key: str, index: int, frame: bytes, above: bool) -> None:
        """Hands a session a frame."""
        self.worker.party.push(key, index, frame, above)

    async def tell(self, payload: bytes) -> bytes:
        """Steers a session."""
        return await self.worker.party.tell(payload)

    def drop(self, key: str) -> None:
        """Closes a session."""
        self.worker.party.drop(key)

    async def totals(self) -> Totals:
        """The worker's totals."""
        return self.worker.totals()

    async def close(self) -> None:
        """Frees the model."""
        await self.worker.close()


class RayHost:
    """A worker in a Ray actor (``aiflow.agents.actor.ModelActor``), given by its handle.

    A call that is in flight when the process dies fails with AgentDiedError and is never repeated; later calls wait
    until Ray has started the actor anew and the model is loaded.
    """

    def __init__(self, actor: Any) -> None:
        from ray.exceptions import ActorUnavailableError, RayActorError, RayError

        self.actor = actor
        self._failed, self._died, self._restarting = RayError, RayActorError, ActorUnavailableError
        self.starting = True
        self._up = False

    async def ready(self) -> None:
        """Waits for the model, and after a death for the new process. Raises AgentDiedError, or why loading failed."""
        failure = await self._reach()
        if failure:
            wire.decode_reply(failure, "")  # raises
        self.starting, self._up = False, True

    async def ask(self, payload: bytes) -> bytes:
        """The last message of the reply."""
        if not self._up:
            await self.ready()
        reply: bytes = await self._result(self.actor.ask.remote(payload))
        return reply

    async def stream(self, payload: bytes) -> AsyncGenerator[bytes]:
        """Every message of the reply, through a Ray streaming generator."""
        if not self._up:
            await self.ready()
        async for message in self._messages(self.actor.stream.remote(payload)):
            yield message

    async def call(self, part: str, payload: bytes) -> bytes:
        """A part's reply."""
        if not self._up:
            await self.ready()
        reply: bytes = await self._result(self.actor.call.remote(part, payload))
        return reply

    async def card(self) -> bytes:
        """What others must know to decode with it."""
        if not self._up:
            await self.ready()
        found: bytes = await self._result(self.actor.card.remote())
        return found

    async def session(self, payload: bytes) -> AsyncGenerator[bytes]:
        """Bundles of what a session sends, through a Ray streaming generator."""
        if not self._up:
            await self.ready()
        async for parts in self._messages(self.actor.session.remote(payload)):
            yield parts

    def push(self, key: str, index: int, frame: bytes, above: bool) -> None:
        """Hands a session a frame; a death shows in ``session``."""
        self.actor.push.remote(key, index, frame, above)

    async def tell(self, payload: bytes) -> bytes:
        """Steers a session."""
        state: bytes = await self._result(self.actor.tell.remote(payload))
        return state

    def drop(self, key: str) -> None:
        """Closes a session; whether the wish arrived is not waited for."""
        self.actor.drop.remote(key)

    def cancel(self, request: str) -> None:
        """Sends the wish; whether it arrived is not waited for."""
        self.actor.cancel.remote(request)

    async def totals(self) -> Totals:
        """The totals since the process started."""
        if not self._up:
            await self.ready()
        totals: Totals = await self._result(self.actor.totals.remote())
        return totals

    async def close(self) -> None:
        """Ends the process, for good."""
        import ray

        self._up = False
        if tracing.on():  # or its last spans would end with it
            with suppress(self._failed, TimeoutError):
                await asyncio.wait_for(self.actor.flush.remote(), _FLUSH_SECONDS)
        ray.kill(self.actor)

    async def _messages(self, refs: Any) -> AsyncGenerator[bytes]:
        while True:
            try:
                ref = await anext(refs)
            except StopAsyncIteration:
                return
            except self._failed as error:
                raise self._translate(error) from error
            yield await self._result(ref)

    async def _reach(self) -> bytes:
        patience = time.monotonic() + RESTART_SECONDS
        while True:
            try:
                reply: bytes = await self.actor.ready.remote()
                return reply
            except self._failed as error:
                restarts = isinstance(error, self._restarting) and not self.starting
                if not restarts or time.monotonic() > patience:
                    raise self._translate(error) from error
            await asyncio.sleep(_POLL_SECONDS)

    async def _result(self, ref: Any) -> Any:
        try:
            return await ref
        except self._failed as error:
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> AgentDiedError | BackendError:
        if isinstance(error, self._died):
            self._up = self.starting = False
            return AgentDiedError("the process of an agent died while it was asked; ask again once it has restarted.")
        return BackendError(f"an agent's process failed: {str(error).splitlines()[-1]}")


async def last(messages: AsyncGenerator[bytes]) -> bytes:
    """The message that ends a reply."""
    reply = b""
    async with aclosing(messages):
        async for message in messages:
            reply = message
    return reply
