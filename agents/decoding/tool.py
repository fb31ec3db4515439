"""``decode_with_<judge>``: collaborative decoding as a LangChain tool of the device.

::

    phone.abilities.append(decode_with(cloud))       # or decode_with(edge, cloud)
    tools = phone.tools()                            # ask_phone, decode_with_cloud
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiflow.errors import InputError

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from aiflow.agents.agent import Agent


def decode_with(*judges: "Agent", fallback: bool = False) -> "Callable[[Agent], BaseTool]":
    """What makes the tool for an agent: it drafts, ``judges`` judge, and the text is the last one's.

    Raises InputError without judges; other mistakes are found when the tool is made.
    """
    if not judges:
        raise InputError("decode_with needs a judge; give the agent whose text is wanted, or the edge and the cloud.")

    def make(agent: "Agent") -> "BaseTool":
        return _tool(agent, judges, fallback)

    return make


def _tool(agent: "Agent", judges: "tuple[Agent, ...]", fallback: bool) -> "BaseTool":
    from langchain_core.tools import StructuredTool
    from pydantic import BaseModel, ConfigDict, Field

    from aiflow.agents.decoding.drive import check
    from aiflow.agents.tools import tool_name

    check(agent, judges)
    top = judges[-1]

    class Question(BaseModel):
        model_config = ConfigDict(extra="forbid")
        question: str = Field(description="The question, complete in itself: the agents see nothing else.")

    async def decode(question: str) -> str:
        return (await agent.speculative_decode(question, judges=judges, fallback=fallback)).text

    def decode_sync(question: str) -> str:
        return agent.speculative_decode_sync(question, judges=judges, fallback=fallback).text

    good = f", good at {top.about}" if top.about else ""
    return StructuredTool.from_function(
        func=decode_sync,
        coroutine=decode,
        name=tool_name("decode_with", top.name),
        description=f"The answer of the agent {top.name!r}{good}, sooner: {agent.name!r} drafts and it only judges.",
        args_schema=Question,
    )
