"""An agent that is asked nothing twice. For curves of quality only: a cached answer says nothing about time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from aiflow.agents.interface import Asks
from aiflow.types import Answer, Delta, Message, Options, conversation

Key = tuple[tuple[Message, ...], Options | None]


class AskCache:
    """Wraps an agent; the same conversation with the same options is generated once, also by concurrent askers.

    Sound only where the answer is a function of both, i.e. greedy or seeded. Errors are not kept. While ``serve`` is
    False every call goes to the agent and is only remembered, so that times stay true. ``hits`` and ``misses`` count.
    """

    def __init__(self, agent: Asks, *, serve: bool = True) -> None:
        self.agent, self.serve = agent, serve
        self.hits = self.misses = 0
        self._answers: dict[Key, asyncio.Task[Answer]] = {}

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
        key = (conversation(messages), options)
        task = self._answers.get(key) if self.serve else None
        if task is not None:
            self.hits += 1
            return await asyncio.shield(task)
        self.misses += 1
        call = self.agent.ask(key[0], sender=sender, options=options, deadline=deadline)
        task = self._answers[key] = asyncio.ensure_future(call)
        task.add_done_callback(lambda t: self._answers.pop(key, None) if t.cancelled() or t.exception() else None)
        return await asyncio.shield(task)

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
