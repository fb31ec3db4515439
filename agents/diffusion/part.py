"""An agent's side of a diffusion collaboration: messages to its party in, results held or sent (a worker's `Part`).

The same message is never worked on twice at a time, and not again while its result is held, so that an asker may ask
again after a failure. A call takes at least the node's pace. Knows no other agent.
"""

import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiflow.agents.diffusion import wire
from aiflow.agents.diffusion.store import Result, Store
from aiflow.clock import Clock, VirtualClock
from aiflow.errors import InputError

STEPS = 64
"""Requests whose progress is remembered."""


class Part:
    """One party, one call at a time: in a thread, or at once where time is simulated."""

    def __init__(self, backend: Any, clock: Clock) -> None:
        """Raises InputError for a back end without a party."""
        if not hasattr(backend, "loaded_party"):
            raise InputError(
                f"{type(backend).__name__} is no part of a diffusion collaboration; use a model such as "
                "'aiflow:motion#ins', 'aiflow:depth#near' or 'aiflow:video#backbone'."
            )
        self._loaded, self._pace = backend.loaded_party, backend.pace
        self._threads: int = backend.threads
        self._clock, self._life = clock, secrets.token_hex(8)
        self._thread = ThreadPoolExecutor(1, "aiflow-diffusion")
        self._busy = asyncio.Lock()
        self._running: dict[str, asyncio.Future[Result]] = {}
        self._steps: dict[str, tuple[int, int]] = {}
        self.store = Store()
        if hasattr(self._loaded.party, "on_step"):
            self._loaded.party.on_step = self._on_step

    async def call(self, payload: bytes) -> bytes:
        """Answers one message. Raises AiflowError."""
        match wire.received(payload):
            case wire.Do() as asked:
                return wire.encode(await self._do(asked))
            case wire.Take(key=key):
                found = self.store.get(key, self._clock.now())
                return wire.encode(wire.Taken(payload=None if found is None else found.payload))
            case wire.Drop(keys=keys):
                for key in keys:
                    self.store.drop(key)
                return b""
            case wire.Watch(request=request):
                step, steps = self._steps.get(request, (0, 0))
                return wire.encode(wire.Steps(step=step, steps=steps))
            case wire.Who(steps=steps):
                return wire.encode(self.card(steps))
        raise AssertionError("wire.received knows no other message")

    def card(self, steps: int = 0) -> wire.Card:
        """What this agent is."""
        loaded = self._loaded
        schedule, shape = loaded.plan(steps)
        return wire.Card(
            schedule=schedule,
            shape=shape,
            system=loaded.system,
            role=loaded.role,
            model=loaded.model,
            life=self._life,
            held=len(self.store),
            held_bytes=self.store.nbytes,
            about=dict(loaded.about),
        )

    def close(self) -> None:
        """Gives up what waits. What a thread computes it computes to its end."""
        for running in self._running.values():
            running.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _do(self, asked: wire.Do) -> wire.Done:
        payload = asked.whole()
        key = wire.digest(payload)
        found = None if asked.fresh else self.store.get(key, self._clock.now())
        if found is None:
            if key not in self._running:
                self._running[key] = asyncio.ensure_future(self._work(key, payload))
            # An asker who goes away does not end the work: whoever asks again finds the result.
            found = await asyncio.shield(self._running[key])
        nbytes = len(found.payload)
        return wire.Done(
            key=key,
            kind=found.kind,
            nbytes=nbytes,
            digest=found.digest,
            seconds=found.seconds,
            shapes=found.shapes,
            payload=found.payload if nbytes <= asked.inline else None,
        )

    async def _work(self, key: str, payload: bytes) -> Result:
        try:
            async with self._busy:
                began, measured = self._clock.now(), time.perf_counter()
                answer = await self._aside(payload)
                least = self._pace.seconds(wire.kind_of(payload), time.perf_counter() - measured)
                await self._clock.sleep_until(began + least)
                now = self._clock.now()
            result = Result(
                payload=answer,
                kind=wire.kind_of(answer),
                shapes=wire.shapes(answer),
                digest=wire.digest(answer),
                seconds=now - began,
                wanted=now,
            )
            self.store.put(key, result)
            return result
        finally:
            future = self._running.pop(key)
            future.add_done_callback(lambda task: task.cancelled() or task.exception())  # perhaps nobody waits

    async def _aside(self, payload: bytes) -> bytes:
        if isinstance(self._clock, VirtualClock):
            answer: bytes = self._loaded.party.handle(payload)
            return answer
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._threaded, payload)

    def _threaded(self, payload: bytes) -> bytes:
        import torch

        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        answer: bytes = self._loaded.party.handle(payload)
        return answer

    def _on_step(self, request: str, step: int, steps: int) -> None:
        self._steps.pop(request, None)
        self._steps[request] = (step, steps)
        while len(self._steps) > STEPS:
            del self._steps[next(iter(self._steps))]
