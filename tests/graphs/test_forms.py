"""What LangGraph does with any graph, it does with ours; and importing the package loads nothing heavy."""

import subprocess
import sys

import pytest
from langgraph.graph import END, START, MessagesState, StateGraph

import aiflow.graphs
from aiflow.graphs import agent_node, device_server, node


def parent(graph):
    return StateGraph(MessagesState).add_node("ask", graph).add_edge(START, "ask").add_edge("ask", END)


async def test_as_a_subgraph(cast):
    outer = parent(device_server(cast.hub(), cast.team())).compile()
    for state in (outer.invoke(cast.ask()), await outer.ainvoke(cast.ask())):
        assert [m.content for m in state["messages"]] == ["What is 2+2?", "the joint answer"]
        assert [*state] == ["messages"]


async def test_a_subgraph_streams_to_its_parent(cast):
    outer = parent(device_server(cast.hub(), cast.team())).compile()
    events = [e async for _, e in outer.astream(cast.ask(), stream_mode="custom", subgraphs=True)]
    assert {"step": "merge", "agent": "hub", "delta": "joint "} in events
    assert any(where for where, _ in outer.stream(cast.ask(), stream_mode="custom", subgraphs=True))


def test_it_draws_itself(cast):
    drawing = device_server(cast.hub(), cast.team()).get_graph().draw_mermaid()
    for edge in ("__start__ --> select", "select --> answer", "answer --> merge", "merge --> revise"):
        assert edge in drawing
    assert "revise -.-> merge" in device_server(cast.hub(), cast.team(), rounds=2).get_graph().draw_mermaid()
    assert "revise" not in device_server(cast.hub(), cast.team(), revise=False).get_graph().draw_mermaid()


def test_it_has_a_name(cast):
    assert device_server(cast.hub(), cast.team(), name="family").name == "family"


async def test_an_agent_as_a_node(cast):
    agent = cast.Puppet("math", "it is four")
    graph = StateGraph(MessagesState).add_node("math", agent_node(agent, sender="cloud", deadline=2.0))
    graph = graph.add_edge(START, "math").compile()
    for state in (graph.invoke(cast.ask()), await graph.ainvoke(cast.ask())):
        assert (state["messages"][-1].content, state["messages"][-1].name) == ("it is four", "math")
    assert agent.calls[0] == {"sender": "cloud", "options": None, "deadline": 2.0}
    events = [e async for e in graph.astream(cast.ask(), stream_mode="custom")]
    assert events[0] == {"step": "math", "agent": "math", "delta": "it "}
    agent.play = cast.DEAD
    with pytest.raises(type(cast.DEAD)):
        graph.invoke(cast.ask())


async def test_a_coroutine_as_a_node(cast):
    @node
    async def shout(state):
        return {"messages": [("ai", state["messages"][-1].content.upper())]}

    graph = StateGraph(MessagesState).add_node("shout", shout).add_edge(START, "shout").compile()
    assert graph.invoke(cast.ask())["messages"][-1].content == "WHAT IS 2+2?"
    assert (await graph.ainvoke(cast.ask()))["messages"][-1].content == "WHAT IS 2+2?"


def test_public_names():
    for name in aiflow.graphs.__all__:
        assert getattr(aiflow.graphs, name)
    with pytest.raises(AttributeError):
        aiflow.graphs.nonsense  # noqa: B018


def test_importing_is_light():
    code = """
import sys, aiflow.graphs
print([m for m in ("langgraph", "sklearn", "ray", "torch") if m in sys.modules])
from aiflow.graphs import *
print([m for m in ("langgraph", "sklearn", "ray", "torch") if m in sys.modules])
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n['langgraph']\n"
