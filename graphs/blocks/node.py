"""Async functions and agents as LangGraph nodes that run under ``invoke`` as well as ``ainvoke``."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig

from aiflow import aio, tracing
from aiflow.agents.interface import Asks
from aiflow.graphs.blocks.attempt import tell
from aiflow.graphs.blocks.writer import writer
from aiflow.graphs.steps import Ran, ran
from aiflow.types import Options, conversation

Update = dict[str, Any]


class Node(Runnable[Any, Update]):
    """A coroutine function as a Runnable; a synchronous run drives it on aiflow's background loop.

    LangChain's RunnableLambda would do, but it reads the function's signature at every call: a third of a graph's time.
    """

    def __init__(self, step: Callable[[Any], Awaitable[Update]], name: str) -> None:
        self.step, self.name = step, name

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:  # noqa: ARG002
        """Runs the step on ``input``, the state."""
        rows = ran.get()
        if rows is None and not tracing.on():
            return await self.step(input)
        began, error = time.perf_counter(), ""
        try:
            with tracing.span(f"step {self.name}", {"aiflow.step": self.name}):
                return await self.step(input)
        except Exception as raised:
            error = type(raised).__name__
            raise
        finally:
            if rows is not None:
                rows.append(Ran(step=str(self.name), seconds=time.perf_counter() - began, error=error))

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Update:
        """Like ``ainvoke``, for synchronous code."""
        return aio.run(self.ainvoke(input, config, **kwargs))


def node(step: Callable[[Any], Awaitable[Update]], name: str | None = None) -> Node:
    """Makes ``async def step(state) -> update`` a node of a LangGraph graph."""
    return Node(step, str(name or getattr(step, "__name__", "node")))


def agent_node(
    agent: Asks, *, sender: str | None = None, options: Options | None = None, deadline: float | None = None
) -> Node:
    """An agent as a node: reads ``state["messages"]``, returns its answer as an AIMessage that bears its name.

    Tokens go to the ``custom`` stream with the agent's name as the step. Raises what ``agent.ask`` raises, so that
    LangGraph's retry policies apply.
    """

    async def answer(state: Any) -> Update:
        turns = conversation(state["messages"])
        how: dict[str, Any] = {"sender": sender, "options": options, "deadline": deadline}
        write = writer()
        said = await (agent.ask(turns, **how) if write is None else tell(agent, turns, write, agent.name, **how))
        return {"messages": [AIMessage(said.text, name=agent.name)]}

    return node(answer, agent.name)
