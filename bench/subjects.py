"""Who can be asked: an agent alone, a collaboration graph, the pieces of one. Agents are ``Asks`` only."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiflow.agents.interface import Asks
from aiflow.bench.suite import Reply
from aiflow.errors import QuorumError
from aiflow.types import Message, Options

GREEDY = Options(max_tokens=96)


@dataclass(frozen=True)
class Alone:
    """An agent asked where it is, so nothing crosses a link."""

    agent: Asks
    options: Options = GREEDY

    @property
    def name(self) -> str:
        """The agent's."""
        return self.agent.name

    async def reply(self, talk: Sequence[Message]) -> Reply:
        """One ask."""
        start = time.perf_counter()
        answer = await self.agent.ask(talk, options=self.options)
        return Reply(
            text=answer.text,
            seconds=time.perf_counter() - start,
            tokens=answer.usage.completion_tokens,
            bytes=answer.bytes,
        )


@dataclass(frozen=True)
class Collaboration:
    """A compiled device-server graph, asked by its ``messages``; its merged answer is the subject's."""

    name: str
    graph: Any
    config: Mapping[str, Any] = field(default_factory=dict)

    async def reply(self, talk: Sequence[Message]) -> Reply:
        """One invocation of the graph."""
        start = time.perf_counter()
        state = await self.graph.ainvoke({"messages": [(m.role, m.text) for m in talk]}, dict(self.config))
        return reply_of(state, time.perf_counter() - start)


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Selection, answers and merge by the graphs' own blocks, without the graph around them: for quality only.

    What ``Collaboration`` says without revision, at a fraction of the time; ``select`` devices are asked.
    """

    name: str
    server: Asks
    devices: Sequence[Asks]
    select: int
    merge: Any = "synthesis"
    options: Options = GREEDY

    async def reply(self, talk: Sequence[Message]) -> Reply:
        """One selection, one answer of each device selected, one merge."""
        from aiflow.graphs import gather, merge, select

        chosen = await select(self.server, self.devices, talk, count=self.select, options=self.options)
        asked = [device for name in chosen.names for device in self.devices if device.name == name]
        replies = await gather(asked, talk, sender=self.server.node, options=self.options)
        answers = {reply.agent: reply.text for reply in replies if reply.ok}
        if not answers:
            raise QuorumError(f"none of {', '.join(chosen.names)} answered: {replies[0].record['error']}")
        merged = await merge(self.server, self.devices, answers, talk, how=self.merge, options=self.options)
        return Reply(text=merged.text, selected=tuple(chosen.names), answers=answers)


def reply_of(state: Mapping[str, Any], seconds: float) -> Reply:
    """Reads the final state of ``aiflow.graphs.device_server``; without revision there are no finals."""
    steps = tuple(dict(step) for step in state["trace"])
    revised = any(step["step"] == "revise" for step in steps)
    return Reply(
        text=state["merged"],
        seconds=seconds,
        tokens=sum(step["completion_tokens"] for step in steps),
        bytes=total(step["bytes"] for step in steps),
        selected=tuple(state["selected"]),
        answers=dict(state["answers"]),
        finals=dict(state["finals"]) if revised else {},
        steps=steps,
    )


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Adds byte counts per link."""
    added: Counter[str] = Counter()
    for count in counts:
        added.update(count)
    return dict(added)
