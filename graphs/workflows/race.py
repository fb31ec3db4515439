"""Answers a question in a planned way, and in further ways beside it as soon as it is late: the first answer counts."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from aiflow.collaboration.planning.option import Key, Option
from aiflow.collaboration.planning.task import Task
from aiflow.errors import AgentDiedError, AgentError, DeadlineError, InputError
from aiflow.graphs.state import Record, record
from aiflow.graphs.workflows.planner import Planner
from aiflow.graphs.workflows.ways import Asked, Ways, learn, quiet
from aiflow.types import Answer

TRIES = 4
"""Ways that are tried for a question, at most, beside the last resort."""


class Race:
    """One question. ``tries``: what was tried, in words; ``trace``: a record of each."""

    def __init__(self, planner: Planner, ways: Ways, task: Task, asked: Asked) -> None:
        self._planner, self._ways, self._task, self._asked = planner, ways, task, asked
        self._clock = ways.device.network.clock
        self._began = self._clock.now()
        self._running: dict[asyncio.Task[Answer], tuple[Option, float, float]] = {}
        self._used: set[Key] = set()
        self._spent = False  # nothing else is left to try
        self._error: AgentError | None = None
        self.tries: list[str] = []
        self.trace: list[Record] = asked.trace

    async def run(self, first: Option) -> tuple[Answer, Option]:
        """The first answer and its way. Raises the last error where all fail, DeadlineError past the deadline."""
        try:
            self._start(first)
            while True:
                late = await self._wait()
                for task in [t for t in self._running if t.done()]:
                    if (found := self._finished(task)) is not None:
                        return found
                if late or not self._running:
                    self._next(late)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _start(self, option: Option) -> None:
        left = self._left()
        asked = replace(self._asked, deadline=left)
        self._used.add(option.key)
        self.tries.append(option.mode)
        work: Awaitable[Answer] = self._ways.take(option, asked)
        self._running[asyncio.ensure_future(work)] = option, self._clock.now(), time.time()

    async def _wait(self) -> bool:
        """Until something has ended (False), or the newest try is late (True)."""
        option, began, _ = list(self._running.values())[-1]
        until = began + self._planner.patience(option)
        if self._task.deadline is not None:
            own = self._planner.unloaded(self._ways.device.name).answering(
                self._task.prompt_tokens, self._task.output_tokens, len(self._task.image_bytes)
            )
            until = min(until, max(began, self._began + self._task.deadline - own))
        if self._spent or len(self._used) > TRIES or option.mode == "on_device":
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return False
        alarm = asyncio.ensure_future(self._clock.sleep_until(until))
        try:
            await asyncio.wait({*self._running, alarm}, return_when=asyncio.FIRST_COMPLETED)
            return not any(task.done() for task in self._running)
        finally:
            alarm.cancel()

    def _finished(self, task: "asyncio.Task[Answer]") -> tuple[Answer, Option] | None:
        option, began, wall = self._running.pop(task)
        agent, now = self._ways.agents[option.parties[-1 if option.mode != "collaborate" else 0]], self._clock.now()
        try:
            answer = task.result()
        except AgentError as error:
            self._error = error
            note = f"{option.mode}, expected {option.seconds:.3f} s"
            self.trace.append(record("answer", agent, wall, error=f"{type(error).__name__}: {error}", note=note))
            if isinstance(error, AgentDiedError):
                self._planner.lost(error.agent or agent.name, "its process is gone")
            elif isinstance(error, DeadlineError):
                self._late(option, began, now)
            return None
        learn(self._planner, option, answer, now, emulated=self._ways.device.network.emulate)
        note = f"{option.mode}, expected {option.seconds:.3f} s"
        self.trace.append(record("answer", agent, wall, answer=answer, note=note))
        return answer, option

    def _late(self, option: Option, began: float, now: float) -> None:
        """Why it is late: a link on which nothing arrived, or else the agents."""
        device = self._ways.device.name
        others = [name for name in option.parties if name != device]
        if any(quiet(self._planner, device, name, began, now) for name in others):
            return
        for name in others:
            self._planner.computed(name, option.seconds, now - began, now)

    def _next(self, late: bool) -> None:
        """Another way, planned with what is known by now; the device by itself where none fits the wish."""
        now = self._clock.now()
        if late:
            option, began, _ = list(self._running.values())[-1]
            self._late(option, began, now)
        left = self._left()
        task: Any = replace(self._task, deadline=None if left is None else max(left, 1e-3))
        try:
            plan = self._planner.plan(task, now, without=self._used)
            chosen = None if plan.waits or plan.chosen.key in self._used else plan.chosen
        except InputError:
            chosen = None
        own = Option(mode="on_device", parties=(self._ways.device.name,), seconds=0.0)
        if chosen is None and own.key not in self._used and (self._task.deadline is not None or not self._running):
            chosen = own
        if chosen is not None:
            self._start(chosen)
        elif not self._running:
            raise self._error or DeadlineError("no agent has answered in time; give a longer deadline.")
        else:
            self._spent = True  # what runs is waited for

    def _left(self) -> float | None:
        if self._task.deadline is None:
            return None
        left: float = self._began + self._task.deadline - self._clock.now()
        if left <= 0 and not self._running:
            raise self._error or DeadlineError("no agent has answered within the deadline; give a longer one.")
        return max(left, 1e-3)
