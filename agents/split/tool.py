"""``split_with_<server>``: split inference as a LangChain tool of the device.

::

    phone.abilities.append(split_with(cloud))
    tools = phone.tools()                            # ask_phone, split_with_cloud
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Unpack

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from aiflow.agents.agent import Agent
    from aiflow.agents.split.how import How


def split_with(server: "Agent", **how: "Unpack[How]") -> "Callable[[Agent], BaseTool]":
    """What makes the tool for an agent: it computes the first blocks, ``server`` the rest; its text counts.

    ``how``: arguments of ``Agent.split_infer``, such as ``policy="best_effort"``.
    """

    def make(agent: "Agent") -> "BaseTool":
        return _tool(agent, server, how)

    return make


def _tool(agent: "Agent", server: "Agent", how: "How") -> "BaseTool":
    from langchain_core.tools import StructuredTool
    from pydantic import BaseModel, ConfigDict, Field

    from aiflow.agents.split.drive import check
    from aiflow.agents.tools import tool_name

    check(agent, server)

    class Question(BaseModel):
        model_config = ConfigDict(extra="forbid")
        question: str = Field(description="The question, complete in itself: the agents see nothing else.")

    async def split(question: str) -> str:
        return (await agent.split_infer(question, server=server, **how)).text

    def split_sync(question: str) -> str:
        return agent.split_infer_sync(question, server=server, **how).text

    good = f", good at {server.about}" if server.about else ""
    return StructuredTool.from_function(
        func=split_sync,
        coroutine=split,
        name=tool_name("split_with", server.name),
        description=f"The answer of the agent {server.name!r}{good}, of which {agent.name!r} computes the beginning.",
        args_schema=Question,
    )
