"""Who answers the harness: a model string, an agent, a compiled graph, or a subject of the other benchmarks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiflow.agents.interface import Backend
from aiflow.bench.harness.scoring import Scorer
from aiflow.bench.subjects import Alone, reply_of
from aiflow.bench.suite import Reply, Sample, Subject
from aiflow.errors import BackendError, InputError
from aiflow.types import Answer, Message, Options


@dataclass(frozen=True)
class Direct:
    """A back end in this process, asked without links."""

    name: str
    backend: Backend

    async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
        """One generation. Raises what the back end raises."""
        start = time.perf_counter()
        answer = None
        async for piece in self.backend.stream(talk, (sample and sample.options) or Options()):
            answer = piece if isinstance(piece, Answer) else answer
        assert answer is not None, "a back end ends with an Answer"
        return Reply(text=answer.text, seconds=time.perf_counter() - start, tokens=answer.usage.completion_tokens)


@dataclass(frozen=True)
class Graph:
    """Any compiled graph from ``messages`` to ``messages``; the last one is its answer.

    The options reach it as ``configurable.options``.
    """

    name: str
    graph: Any

    async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
        """One invocation. Raises BackendError if the graph says nothing, and what its agents raise."""
        start = time.perf_counter()
        how = {"configurable": {"options": sample.options}} if sample and sample.options else {}
        state = await self.graph.ainvoke({"messages": [turn.openai() for turn in talk]}, how)
        if "merged" in state and "trace" in state:
            return reply_of(state, time.perf_counter() - start)
        said = [Message.of(message) for message in state.get("messages", ())][-1:]
        if not said or said[0].role != "assistant":
            raise BackendError(f"the graph {self.name} ended without an answer in its messages.", self.name)
        return Reply(text=said[0].text, seconds=time.perf_counter() - start)


def subject_of(model: Any, **backend_options: Any) -> Subject:
    """A model string (see ``aiflow.agents.backends``), an agent, a compiled graph, or a subject as it is.

    Raises UnknownModelError, CredentialError, DataError, InputError.
    """
    if isinstance(model, str):
        from aiflow.agents import backends

        return Direct(model, backends.create(model, **backend_options))
    if backend_options:
        raise InputError(f"{', '.join(backend_options)}: options of a back end go with a model string only.")
    if hasattr(model, "reply"):
        found: Subject = model
        return found
    if hasattr(model, "ask"):
        return Alone(model)
    if hasattr(model, "ainvoke"):
        return Graph(getattr(model, "name", None) or "graph", model)
    raise InputError(f"{type(model).__name__} can be asked nothing; pass a model string, an agent or a compiled graph.")


def scorer_of(subject: Subject) -> Scorer | None:
    """Log-likelihoods, where the subject is a local model that gives its logits; None otherwise. Raises InputError."""
    make = getattr(subject.backend, "speaker", None) if isinstance(subject, Direct) else None
    return Scorer(make()) if make is not None else None
