"""What can be asked by a name: an agent, or a graph of agents. One form for both; knows no HTTP.

Every answer that agents give on the way is on ``aiflow.agents.spent.bill``, whichever graph asked them.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from aiflow.agents.agent import Agent
from aiflow.agents.interface import Asks
from aiflow.agents.replicas import Role
from aiflow.agents.spent import bill
from aiflow.errors import BackendError
from aiflow.serve.outcome import Outcome, marks
from aiflow.serve.refusal import Refusal
from aiflow.types import Answer, Delta, Finish, Message, Options


class Model(Protocol):
    """Something that answers conversations."""

    @property
    def default(self) -> Options:
        """How it generates unless the caller says otherwise."""

    async def answer(self, talk: Sequence[Message], given: Mapping[str, Any]) -> Outcome:
        """The whole answer; ``given`` are options of the call. Raises an AiflowError."""

    def stream(self, talk: Sequence[Message], given: Mapping[str, Any]) -> AsyncGenerator[str | Outcome]:
        """Pieces of the text, then the outcome, whose text is all of them together."""


@dataclass(frozen=True, kw_only=True)
class AgentModel:
    """One agent, or a role, asked from its own node."""

    agent: Agent | Role

    @property
    def default(self) -> Options:
        """The agent's own."""
        return self.agent.options

    async def answer(self, talk: Sequence[Message], given: Mapping[str, Any]) -> Outcome:
        """The agent's answer."""
        return _ended(await self.agent.ask(talk, options=given))

    async def stream(self, talk: Sequence[Message], given: Mapping[str, Any]) -> AsyncGenerator[str | Outcome]:
        """The agent's answer, in its pieces."""
        async with aclosing(self.agent.stream(talk, options=given)) as pieces:
            async for piece in pieces:
                yield piece.text if isinstance(piece, Delta) else _ended(piece)


@dataclass(frozen=True, kw_only=True)
class GraphModel:
    """A compiled LangGraph graph from ``messages`` to ``messages``.

    ``step``: the step of the custom stream whose pieces are the answer (``""``: none is); ``round``: of how many rounds
    the last is streamed; ``members``: the agents that the graph has.
    """

    graph: Any
    default: Options
    members: tuple[str, ...] = ()
    step: str = ""
    rounds: int = 1

    async def answer(self, talk: Sequence[Message], given: Mapping[str, Any]) -> Outcome:
        """The last message of the state that the graph ends in."""
        return self._ended(await self.graph.ainvoke(_input(talk, given), self._config(given)))

    async def stream(self, talk: Sequence[Message], given: Mapping[str, Any]) -> AsyncGenerator[str | Outcome]:
        """The pieces of ``step`` as they are written, or the whole text at the end."""
        said, state, merges = "", {}, 0
        events = self.graph.astream(_input(talk, given), self._config(given), stream_mode=["custom", "values"])
        async with aclosing(events) as events:
            async for mode, event in events:
                if mode == "values":
                    state = event
                    merges = state.get("round", 0)
                elif self._is_answer(event, merges):
                    said += event["delta"]
                    yield event["delta"]
        outcome = self._ended(state)
        if not outcome.text.startswith(said):
            message = "what was streamed was replaced in the end; ask again, or without stream."
            raise Refusal(502, message, kind="server_error", code="replaced")
        if rest := outcome.text[len(said) :]:
            yield rest
        yield outcome

    def _is_answer(self, event: Any, merges: int) -> bool:
        told = bool(self.step) and isinstance(event, Mapping) and event.get("step") == self.step
        return told and isinstance(event.get("delta"), str) and merges == self.rounds - 1

    def _config(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"configurable": {"options": replace(self.default, **given)}} if given else {}

    def _ended(self, state: Any) -> Outcome:
        answers = bill.get() or []
        last = state["messages"][-1] if isinstance(state, Mapping) and state.get("messages") else None
        text = getattr(last, "content", None)
        if not isinstance(text, str):
            raise BackendError("the graph ended without an answer as text")
        finish: Finish = next((answer.finish for answer in reversed(answers) if answer.text == text), "stop")
        trace = state.get("trace") or ()
        asked = [answer.agent for answer in answers]
        return Outcome(text=text, finish=finish, marks=marks(trace, self.members, asked))


def members(*agents: Asks) -> tuple[str, ...]:
    """The names of agents."""
    return tuple(agent.name for agent in agents)


def _input(talk: Sequence[Message], given: Mapping[str, Any]) -> dict[str, Any]:
    if given.get("top_logprobs"):
        raise Refusal(400, "graphs report no log-probabilities.", code="unsupported_parameter", param="logprobs")
    return {"messages": [turn.openai() for turn in talk]}


def _ended(answer: Answer) -> Outcome:
    return Outcome(text=answer.text, finish=answer.finish, logprobs=answer.logprobs)
