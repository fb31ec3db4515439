"""One request to a role: another replica is asked when one fails, or beside one that is late; the first answer counts.

A request may so be computed twice, and is answered once. It knows no messages: ``Ask`` sends the request to a replica.
"""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING

from aiflow.agents.replicas.balance import LONGEST, Balance
from aiflow.clock import Clock
from aiflow.errors import AgentDiedError, AgentError, BackendUnavailableError, DeadlineError, ProtocolError
from aiflow.types import Answer

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent

Ask = Callable[["Agent"], Awaitable[Answer]]
GONE = (AgentDiedError, BackendUnavailableError, DeadlineError)
"""Errors that say nothing about the request: the same replica may answer it later."""
FAILED = (AgentError, ProtocolError)
POLL = 0.02
GIVE_UP = 120.0
"""Seconds without any replica after which a request without a deadline fails."""


class Race:
    """Asks replicas until one answers. ``patience``: seconds after which the next one is asked too; None: never.

    After as long again without any answer, the first one is asked anew: what was sent may be lost.
    """

    def __init__(self, replicas: "dict[str, Agent]", balance: Balance, clock: Clock, patience: float | None) -> None:
        self._replicas, self._balance, self._clock = replicas, balance, clock
        self._patience = inf if patience is None else patience
        self._running: dict[asyncio.Task[Answer], tuple[str, float]] = {}  # replica, and since when
        self._dropped: list[asyncio.Task[Answer]] = []
        self._refused: set[str] = set()  # replicas that had this request and cannot answer it
        self._error: Exception | None = None
        self._alone_since = 0.0  # since when no replica has worked on it for longer than a rest

    async def run(self, ask: Ask) -> Answer:
        """The first answer. Raises the last error when every replica has refused, or none is there for too long."""
        self._alone_since = self._clock.now()
        try:
            while True:
                self._start(ask)
                await self._wait()
                for task in [task for task in self._running if task.done()]:
                    if (answer := self._finished(task)) is not None:
                        return answer
                self._mark_late()
        finally:
            for task in list(self._running):
                self._drop(task)
            await asyncio.gather(*self._dropped, return_exceptions=True)

    def _start(self, ask: Ask) -> None:
        """Asks the next replica; where all have the request and are late, the first of them once more."""
        now = self._clock.now()
        name = self._balance.choose(now, {n for n, _ in self._running.values()} | self._refused)
        if name is None and self._running and all(now - t >= self._patience for _, t in self._running.values()):
            task = min(self._running, key=lambda task: self._running[task][1])
            name = self._running[task][0]
            self._drop(task)
        if name is not None and name in self._replicas:
            self._balance.began(name)
            self._running[asyncio.ensure_future(ask(self._replicas[name]))] = name, now

    def _drop(self, task: "asyncio.Task[Answer]") -> None:
        name, _ = self._running.pop(task)
        self._balance.ended(name)
        task.cancel()
        self._dropped.append(task)

    def _mark_late(self) -> None:
        """A replica that is silent for too long is taken for lost until it is found to be there."""
        now = self._clock.now()
        for name, began in self._running.values():
            if now - began >= self._patience:
                self._balance.failed(name, now)

    async def _wait(self) -> None:
        """Until a replica has answered or failed, the newest is late, or one that rested can be asked."""
        now = self._clock.now()
        if self._running:
            until = max(began for _, began in self._running.values()) + self._patience
        elif self._refused >= set(self._balance.loads):
            raise self._error or AgentDiedError("there is no replica left; add one.")
        elif now >= self._alone_since + GIVE_UP:
            raise self._error or AgentDiedError(f"no replica was there for {GIVE_UP:g} s.")
        else:
            wakes = self._balance.wakes(self._refused)
            until = max(min(wakes, self._alone_since + GIVE_UP), now + POLL)  # it may be on trial with another request
        if until == inf:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return
        alarm = asyncio.ensure_future(self._clock.sleep_until(until))
        try:
            await asyncio.wait({*self._running, alarm}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()

    def _finished(self, task: "asyncio.Task[Answer]") -> Answer | None:
        name, began = self._running.pop(task)
        self._balance.ended(name)
        now = self._clock.now()
        try:
            answer = task.result()
        except FAILED as error:
            self._error = error
            self._balance.failed(name, now)
            if self._running or now - began > LONGEST:
                self._alone_since = now
            if not isinstance(error, GONE):
                self._refused.add(name)
            return None
        self._balance.answered(name, now - began)
        return answer
