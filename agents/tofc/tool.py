"""``look_with_<server>``: questions on compressed images as a LangChain tool of the device.

::

    phone.abilities.append(look_with(cloud))
    tools = phone.tools()                            # ask_phone, look_with_cloud
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from aiflow.agents.agent import Agent


def look_with(server: "Agent", *, deadline: float | None = None) -> "Callable[[Agent], BaseTool]":
    """What makes the tool for an agent: it sees and compresses, ``server`` answers within ``deadline`` seconds."""

    def make(agent: "Agent") -> "BaseTool":
        return _tool(agent, server, deadline)

    return make


def _tool(agent: "Agent", server: "Agent", deadline: float | None) -> "BaseTool":
    from langchain_core.tools import StructuredTool
    from pydantic import BaseModel, ConfigDict, Field

    from aiflow.agents.tofc.drive import check
    from aiflow.agents.tools import tool_name

    check(agent, server)

    class Question(BaseModel):
        model_config = ConfigDict(extra="forbid")
        image: str = Field(description="The path of a picture file, or a base64 data URL.")
        question: str = Field(description="The question on it, complete in itself: the agents see nothing else.")

    async def look(image: str, question: str) -> str:
        return (await agent.tofc_answer(image, question, server=server, deadline=deadline)).text

    def look_sync(image: str, question: str) -> str:
        return agent.tofc_answer_sync(image, question, server=server, deadline=deadline).text

    good = f", good at {server.about}" if server.about else ""
    return StructuredTool.from_function(
        func=look_sync,
        coroutine=look,
        name=tool_name("look_with", server.name),
        description=f"The answer of the agent {server.name!r}{good}, on an image that {agent.name!r} compresses.",
        args_schema=Question,
    )
