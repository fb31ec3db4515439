"""An agent that is asked nothing twice, within a run and, with a ``RequestLog``, over its interruptions."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from aiflow.agents.interface import Asks
from aiflow.bench.budget import Budget
from aiflow.bench.requests import RequestLog, key_of
from aiflow.bench.tally import count
from aiflow.types import Answer, Delta, Options, conversation


class AskCache:
    """Wraps an agent; the same conversation with the same options is generated once, also by concurrent askers.

    Sound only where the answer is a function of both, i.e. greedy or seeded. Errors are not kept. While ``serve`` is
    False every call goes to the agent and is only remembered, so that times stay true (a repeated answer says nothing
    about time). With a ``log`` answers are written down, and those of an earlier run are served; what is not served is
    counted against ``budget``. ``hits`` and ``misses`` count. ``kept_as`` (by default its
    name): whose answers these are in the log; it should tell the model too. What else it can do, it does uncached.
    """

    def __init__(
        self,
        agent: Asks,
        *,
        serve: bool = True,
        log: RequestLog | None = None,
        budget: Budget | None = None,
        kept_as: str = "",
    ) -> None:
        self.agent, self.serve, self.log, self.budget = agent, serve, log, budget
        self._kept_as = kept_as or agent.name
        self.hits = self.misses = 0
        self._answers: dict[str, asyncio.Task[Answer]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.agent, name)

    @property
    def name(self) -> str:
        """The wrapped agent's."""
        return self.agent.name

    @property
    def about(self) -> str:
        """The wrapped agent's."""
        return self.agent.about

    @property
    def node(self) -> str:
        """The wrapped agent's."""
        return self.agent.node

    async def ask(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | None = None,
        deadline: float | None = None,
    ) -> Answer:
        """Asks once per conversation and options; the first asker's ``sender`` and ``deadline`` hold for all."""
        talk = conversation(messages)
        key = key_of(self._kept_as, talk, options)
        task = self._answers.get(key) if self.serve else None
        if task is None and self.log is not None and (known := self.log.get(key, earlier=not self.serve)):
            self.hits += 1
            count(known, reused=True)
            return known
        if task is not None:
            self.hits += 1
            answer = await asyncio.shield(task)
            count(answer, reused=True)
            return answer
        self.misses += 1
        if self.budget:
            self.budget.check()
        task = self._answers[key] = asyncio.ensure_future(self._ask(key, talk, sender, options, deadline))
        task.add_done_callback(lambda t: self._answers.pop(key, None) if t.cancelled() or t.exception() else None)
        if self.log is not None:
            self.log.pending.add(task)
            task.add_done_callback(self.log.pending.discard)
        answer = await asyncio.shield(task)
        count(answer, reused=False)
        return answer

    async def _ask(
        self, key: str, talk: Any, sender: str | None, options: Options | None, late: float | None
    ) -> Answer:
        answer = await self.agent.ask(talk, sender=sender, options=options, deadline=late)
        if self.log is not None:
            self.log.put(key, answer)
        if self.budget:
            self.budget.add(answer.usage)
        return answer

    async def stream(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | None = None,
        deadline: float | None = None,
    ) -> AsyncIterator[Delta | Answer]:
        """The whole answer as one piece."""
        answer = await self.ask(messages, sender=sender, options=options, deadline=deadline)
        yield Delta(text=answer.text)
        yield answer
