"""A planner model calls agents as tools: LangGraph's ToolNode runs them, on their nodes and over the links.

The planner is scripted here. Any LangChain chat model does it: ``ChatOpenAI(...).bind_tools(tools)`` in its place.
"""

import sys
from pathlib import Path
from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

import aiflow

HOME = Path(__file__).with_name("home.yaml")


def call(tool: str, question: str) -> dict[str, Any]:
    """A tool call, as a chat model writes it."""
    return {"name": tool, "args": {"question": question}, "id": tool, "type": "tool_call"}


PLAN = [
    AIMessage("", tool_calls=[call("ask_math", "What is 12 * 7?"), call("ask_code", "print('7' * 2)")]),
    AIMessage("12 * 7 is 84, and the program prints 77."),
]


def build(planner: Any, tools: list[Any]) -> Any:
    """The planner and its tools, in a loop until it calls none."""

    def plan(state: MessagesState) -> dict[str, Any]:
        return {"messages": [planner.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("plan", plan)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", tools_condition)
    graph.add_edge("tools", "plan")
    return graph.compile()


def main(local: bool) -> None:
    with aiflow.connect(HOME, local=local) as cluster:
        math = cluster.agent("math", node="phone", model="scripted:84", about="arithmetic")
        code = cluster.agent("code", node="laptop", model="scripted:77", about="tracing small programs")
        tools = [*math.tools(sender="cloud"), *code.tools(sender="cloud")]
        graph = build(GenericFakeChatModel(messages=iter(PLAN)), tools)
        for message in graph.invoke({"messages": [("user", "12 * 7, and what prints '7' * 2?")]})["messages"]:
            calls = [f"{c['name']}({c['args']['question']!r})" for c in getattr(message, "tool_calls", [])]
            print(f"{message.type}: {message.content or ', '.join(calls)}")


if __name__ == "__main__":
    main(local="--ray" not in sys.argv)
