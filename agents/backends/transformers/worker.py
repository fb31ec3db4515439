"""The thread that owns the model: it takes requests from a queue, admits what there is room for, steps the runner."""

import asyncio
import queue
import random
import threading
from typing import Protocol

import torch

from aiflow.agents.backends.transformers.loading import Loaded
from aiflow.agents.backends.transformers.outbox import Outbox
from aiflow.agents.backends.transformers.requests import Request
from aiflow.errors import AiflowError, BackendError

PREFILL = 2048  # prompt tokens admitted per step: bounds how long the running rows wait


class Runner(Protocol):
    """A way to generate: ``Batched`` or ``Single``. Called by the worker's thread only."""

    @property
    def room(self) -> int:
        """How many requests it takes now."""

    @property
    def busy(self) -> bool:
        """Whether it has a request to go on with."""

    def admit(self, fresh: list[Request], outbox: Outbox) -> None:
        """Takes requests whose prompts are set."""

    def step(self, outbox: Outbox) -> None:
        """Writes at least one token of each request that runs."""

    def reset(self) -> None:
        """Forgets all requests."""


class Worker:
    """Owns the thread, the queue and the life of requests from submission to end."""

    def __init__(self, loaded: Loaded, runner: Runner, *, threads: int, seed: int | None) -> None:
        self._loaded, self._runner, self._threads = loaded, runner, threads
        self._seeds = random.Random(seed)
        self._inbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._waiting: list[Request] = []
        self._outbox = Outbox()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="aiflow-model", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Queues a request; thread-safe. Raises BackendError after ``close``."""
        with self._lock:
            if self._closed:
                raise BackendError("the model was closed; create the back end again.")
            self._outbox.open.add(request)
            self._inbox.put(request)

    async def close(self) -> None:
        """Fails what is in flight and waits for the thread to end."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for request in self._outbox.open:
                    request.cancelled = True  # ends a ``Single`` generation at its next token
                self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        with torch.inference_mode():
            while self._collect():
                try:
                    self._admit()
                    self._runner.step(self._outbox)
                except Exception as error:  # noqa: BLE001 - whatever a model raises must end these requests only
                    self._fail(f"the model failed: {type(error).__name__}: {error}")
                self._outbox.flush()
                if not self._closed:
                    self._outbox.sweep()
        self._fail("the model was closed while it answered.")
        self._outbox.flush()
        del self._loaded, self._runner

    def _collect(self) -> bool:
        """Takes what has arrived, waiting for it if there is nothing to do; False once closed."""
        idle = not (self._runner.busy or self._waiting)
        while idle or not self._inbox.empty():
            request = self._inbox.get()
            if request is None:
                return False
            self._waiting.append(request)
            idle = False
        return not self._closed

    def _admit(self) -> None:
        """Tokenises and admits in order of arrival, as far as there is room and up to PREFILL tokens."""
        fresh: list[Request] = []
        tokens, taken = 0, 0
        for request in self._waiting:
            if len(fresh) >= self._runner.room or tokens >= PREFILL:
                break
            taken += 1
            if self._start(request):
                fresh.append(request)
                tokens += len(request.prompt.ids)
        del self._waiting[:taken]
        if fresh:
            self._runner.admit(fresh, self._outbox)

    def _start(self, request: Request) -> bool:
        if request.cancelled:
            return False
        try:
            prompt = self._loaded.prompter(request.messages)
        except AiflowError as error:
            self._outbox.end(request, error)
        except Exception as error:  # noqa: BLE001 - a tokenizer's or processor's failure is this request's alone
            self._outbox.end(request, BackendError(f"the prompt cannot be built: {type(error).__name__}: {error}"))
        else:
            loaded = self._loaded
            seed = self._seeds.getrandbits(63)
            request.start(prompt, loaded.decode, loaded.spell, ends=loaded.ends, context=loaded.context, seed=seed)
            return True
        return False

    def _fail(self, reason: str) -> None:
        """Ends every request that was admitted, and once closed those that wait too."""
        self._runner.reset()
        for request in tuple(self._outbox.open):
            if self._closed or request.prompt.ids:
                self._outbox.end(request, BackendError(reason))
