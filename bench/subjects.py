"""Who can be asked: an agent alone, a collaboration graph, the pieces of one. Agents are ``Asks`` only."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiflow.agents.interface import Asks
from aiflow.bench.suite import Reply, Sample
from aiflow.errors import BackendError, QuorumError
from aiflow.types import Message, Options

GREEDY = Options(max_tokens=96)


@dataclass(frozen=True)
class Alone:
    """An agent asked where it is, so nothing crosses a link; ``deadline``: seconds for each answer (None: any)."""

    agent: Asks
    options: Options = GREEDY
    deadline: float | None = None

    @property
    def name(self) -> str:
        """The agent's."""
        return self.agent.name

    async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
        """One ask."""
        start = time.perf_counter()
        how = (sample and sample.options) or self.options
        answer = await self.agent.ask(talk, options=how, deadline=self.deadline)
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

    async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
        """One invocation of the graph; a sample's options reach it as ``configurable.options``."""
        start = time.perf_counter()
        config = dict(self.config)
        if sample and sample.options:
            config["configurable"] = {**config.get("configurable", {}), "options": sample.options}
        state = await self.graph.ainvoke({"messages": [m.openai() for m in talk]}, config)
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

    async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
        """One selection, one answer of each device selected, one merge."""
        from aiflow.graphs import gather, merge, select

        how = (sample and sample.options) or self.options
        chosen = await select(self.server, self.devices, talk, count=self.select, options=how)
        asked = [device for name in chosen.names for device in self.devices if device.name == name]
        replies = await gather(asked, talk, sender=self.server.node, options=how)
        answers = {reply.agent: reply.text for reply in replies if reply.ok}
        if not answers:
            raise QuorumError(f"none of {', '.join(chosen.names)} answered: {replies[0].record['error']}")
        merged = await merge(self.server, self.devices, answers, talk, how=self.merge, options=how)
        return Reply(text=merged.text, selected=tuple(chosen.names), answers=answers)


@dataclass(frozen=True)
class Recorded:
    """A model's recorded answers: sample id -> a text for each turn. Costs were not recorded."""

    name: str
    answers: Mapping[str, Sequence[str]] = field(repr=False)

    async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
        """The answer to the sample's turn. Raises BackendError where none was recorded."""
        turn = sum(message.role == "user" for message in talk) - 1
        texts = self.answers.get(sample.id, ()) if sample else ()
        if turn >= len(texts):
            raise BackendError(f"{self.name} has no recorded answer to {sample and sample.id!r}, turn {turn + 1}.")
        return Reply(text=texts[turn])


def reply_of(state: Mapping[str, Any], seconds: float) -> Reply:
    """Reads the final state of ``aiflow.graphs.device_server``, or the last message of any other graph's.

    Without revision there are no finals; without a trace the costs are unknown here.
    """
    steps = tuple(dict(step) for step in state.get("trace", ()))
    revised = any(step["step"] == "revise" for step in steps)
    return Reply(
        text=state["merged"] if "merged" in state else str(state["messages"][-1].content),
        seconds=seconds,
        tokens=sum(step["completion_tokens"] for step in steps),
        bytes=total(step["bytes"] for step in steps),
        selected=tuple(state.get("selected", ())),
        answers=dict(state.get("answers", {})),
        finals=dict(state.get("finals", {})) if revised else {},
        steps=steps,
    )


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Adds byte counts per link."""
    added: Counter[str] = Counter()
    for count in counts:
        added.update(count)
    return dict(added)
