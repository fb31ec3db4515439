"""Graphs that tests serve as a user's own."""

from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph

from aiflow.graphs import agent_node, node
from aiflow.types import conversation


def _chain(**nodes: Any) -> Any:
    graph: Any = StateGraph(MessagesState)
    last = START
    for name, step in nodes.items():
        graph.add_node(name, step)
        graph.add_edge(last, name)
        last = name
    graph.add_edge(last, END)
    return graph.compile()


async def _count(state: Any) -> dict[str, Any]:
    images = [image for turn in conversation(state["messages"]) for image in turn.images]
    return {"messages": [AIMessage(f"{len(images)} {' '.join(image.media_type for image in images)}")]}


async def _replace(state: Any) -> dict[str, Any]:  # noqa: ARG001
    return {"messages": [AIMessage("something else")]}


def pictures(cluster: Any) -> Any:  # noqa: ARG001
    """Says how many pictures it was shown."""
    return _chain(look=node(_count))


def spoken(cluster: Any) -> Any:
    """The hub, as a graph that streams."""
    return _chain(hub=agent_node(cluster["hub"]))


def changed(cluster: Any) -> Any:
    """The hub speaks, and then something else is the answer."""
    return _chain(hub=agent_node(cluster["hub"]), change=node(_replace))
