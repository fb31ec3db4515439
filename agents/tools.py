"""An agent's abilities as LangChain tools, for planner models and LangGraph's ToolNode.

``ask_<name>`` is always there. Other shared inferences add themselves: ``agent.abilities.append(make)``, where
``make(agent)`` returns a tool.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from aiflow.agents.agent import Agent
    from aiflow.agents.replicas import Role


def tools(agent: "Agent | Role", sender: str | None = None) -> "list[BaseTool]":
    """Every ability of ``agent``, called from node ``sender`` (None: its own node)."""
    abilities: Sequence[Callable[[Any], BaseTool]] = agent.abilities
    return [ask_tool(agent, sender), *(make(agent) for make in abilities)]


def ask_tool(agent: "Agent | Role", sender: str | None = None) -> "BaseTool":
    """The tool ``ask_<name>(question) -> answer``; async and sync. Its description is what the agent is good at."""
    from langchain_core.tools import StructuredTool
    from pydantic import BaseModel, ConfigDict, Field

    class Question(BaseModel):
        model_config = ConfigDict(extra="forbid")
        question: str = Field(description="The question, complete in itself: the agent sees nothing else.")

    async def ask(question: str) -> str:
        return (await agent.ask(question, sender=sender)).text

    def ask_sync(question: str) -> str:
        return agent.ask_sync(question, sender=sender).text

    return StructuredTool.from_function(
        func=ask_sync,
        coroutine=ask,
        name=tool_name("ask", agent.name),
        description=f"Asks the agent {agent.name!r}{f', good at {agent.about}' if agent.about else ''}.",
        args_schema=Question,
    )


def tool_name(verb: str, agent: Any) -> str:
    """``ask_math``: what function-calling APIs accept as a name (letters, digits, ``_``, ``-``; at most 64)."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", f"{verb}_{agent}")[:64]
