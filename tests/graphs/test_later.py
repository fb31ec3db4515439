"""Graphs that exist when a module is imported, as ``langgraph.json`` wants them."""

import importlib.util
import json
from pathlib import Path

import pytest
from langgraph.graph.state import CompiledStateGraph

from aiflow.agents.later import Later
from aiflow.errors import TopologyError, UnknownAgentError
from aiflow.graphs import device_server

ROOT = Path(__file__).parents[2]
HOME = "nodes: {phone: device, hub: cloud}\nlinks: [{between: [device, cloud], rate: 1 GB/s}]"


def studio():
    """The module that ``langgraph.json`` names, loaded from its file as LangGraph's server does; the names in it."""
    graphs = json.loads((ROOT / "langgraph.json").read_text())["graphs"]
    (path,) = {place.partition(":")[0] for place in graphs.values()}
    spec = importlib.util.spec_from_file_location("named_by_langgraph", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, [place.partition(":")[2] for place in graphs.values()]


def test_every_graph_of_langgraph_json_is_compiled_without_a_checkpointer_and_nothing_runs():
    module, names = studio()
    assert set(names) == {"home", "own"}
    for name in names:
        graph = getattr(module, name)
        assert isinstance(graph, CompiledStateGraph)
        assert graph.checkpointer is None
        assert graph.get_graph().draw_mermaid()
    assert not module.cluster.started


async def test_one_of_them_runs():
    module, _ = studio()
    state = await module.own.ainvoke({"messages": [("user", "What is the capital of Germany?")]})
    assert state["messages"][-1].content == "The capital of Germany is Berlin."
    modes = {
        mode async for mode, _ in module.own.astream({"messages": [("user", "?")]}, stream_mode=["custom", "values"])
    }
    assert modes == {"custom", "values"}


async def test_agents_start_with_the_first_question_and_can_be_ended():
    cluster = Later(HOME, local=True, emulate=False)
    math = cluster.agent("math", node="phone", model="scripted:84", about="arithmetic")
    hub = cluster.agent("hub", node="hub", model="scripted:It is 84.")
    graph = device_server(hub, [math], select="all")
    assert not cluster.started
    for _ in range(2):
        state = await graph.ainvoke({"messages": [("user", "12 * 7?")]})
        assert state["messages"][-1].content == "It is 84."
        assert cluster.started
        await cluster.aclose()
        assert not cluster.started
    assert [piece.text async for piece in math.stream("?")][-1] == "84"
    await cluster.aclose()


async def test_what_is_wrong_is_raised_when_it_is_asked():
    cluster = Later(HOME, local=True)
    lost = cluster.agent("lost", node="nowhere", model="scripted:1")
    with pytest.raises(TopologyError, match="nowhere"):
        await lost.ask("?")
    assert not cluster.started
    assert cluster["lost"] is lost
    with pytest.raises(UnknownAgentError, match="lost"):
        cluster["list"]
