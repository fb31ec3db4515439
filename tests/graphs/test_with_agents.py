"""The graph over real agents (scripted models in this process): bytes, tokens, faults, streams, simulated time."""

import time

import pytest

import aiflow
from aiflow.clock import VirtualClock
from aiflow.graphs import device_server, sqlite

HOME = {
    "nodes": {"phone": {"tier": "device"}, "laptop": {"tier": "device"}, "cloud": {"tier": "cloud"}},
    "links": [{"between": ["device", "cloud"], "rate": "10 KB/s", "rtt": "200 ms"}],
}
HUB = ["math, code", "the joint answer"]


def cast_of(cluster, **math):
    hub = cluster.agent("hub", node="cloud", model="scripted:", answers=HUB)
    math = cluster.agent("math", node="phone", about="numbers", **{"model": "scripted:it is four", **math})
    code = cluster.agent("code", node="laptop", model="scripted:it is 4", about="programs")
    bio = cluster.agent("bio", node="laptop", model="scripted:a cell", about="animals")
    return hub, [math, code, bio]


@pytest.fixture
def home():
    with aiflow.connect(HOME, local=True, emulate=False) as cluster:
        yield cluster


def test_the_trace_adds_up_to_what_crossed_the_links(cast, home):
    server, devices = cast_of(home)
    state = device_server(server, devices, deadline=5.0).invoke(cast.ask())
    traced: dict[str, int] = {}
    for record in state["trace"]:
        for link, count in record["bytes"].items():
            traced[link] = traced.get(link, 0) + count
    assert traced == {link: count for link, count in home.network.totals().items() if count}
    assert len(traced) == 2
    first = next(r for r in state["trace"] if r["agent"] == "math")
    assert (first["node"], first["prompt_tokens"], first["completion_tokens"]) == ("phone", 3, 3)
    assert state["merged"] == "the joint answer"


async def test_simulated_time_passes_at_once(cast):
    clock = VirtualClock()
    cluster = aiflow.connect(HOME, local=True, clock=clock)
    server, devices = cast_of(cluster, delay=3.0)
    graph = device_server(server, devices, deadline=60.0)
    started = time.perf_counter()
    state = await clock.run(graph.ainvoke(cast.ask()))
    assert time.perf_counter() - started < 2
    seconds = {r["agent"]: r["seconds"] for r in state["trace"] if r["step"] == "answer"}
    assert 3.2 < seconds["math"] < 3.4
    assert 0.2 < seconds["code"] < 0.4
    assert 6.4 < clock.now() < 6.8
    state = await clock.run(device_server(server, devices, deadline=1.0, selector="all").ainvoke(cast.ask()))
    assert set(state["answers"]) == {"code", "bio"}
    await cluster.aclose()


@pytest.mark.parametrize("fault", ["raise", "garbage", "babble", "hang", "die"])
@pytest.mark.parametrize("streaming", [False, True])
async def test_every_scripted_fault_is_marked(cast, home, fault, streaming):
    server, devices = cast_of(home, fail=fault)
    devices[0].options = aiflow.Options(max_tokens=4096)
    graph = device_server(server, devices, deadline=0.3)
    started = time.perf_counter()
    if streaming:
        events = [e async for e in graph.astream(cast.ask(), stream_mode=["custom", "values"])]
        state = [e for mode, e in events if mode == "values"][-1]
    else:
        state = await graph.ainvoke(cast.ask())
    assert time.perf_counter() - started < 2
    assert state["merged"] == "the joint answer"
    assert state["finals"] == {"code": "it is 4"}
    [failed] = [r for r in state["trace"] if not r["ok"]]
    assert failed["agent"] == "math"
    assert failed["error"]


async def test_tokens_stream_over_the_links(cast, home):
    server, devices = cast_of(home)
    events = [e async for e in device_server(server, devices).astream(cast.ask(), stream_mode="custom")]
    assert [e["delta"] for e in events if (e["step"], e["agent"]) == ("answer", "math")] == ["it", " is", " four"]


def test_images_cross_the_links(cast, home, png):
    server, devices = cast_of(home)
    text = device_server(server, devices, selector="all").invoke(cast.ask("What is it?"))
    server, devices = cast_of(aiflow.connect(HOME, local=True, emulate=False))
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": png.url}}]
    seen = device_server(server, devices, selector="all").invoke({"messages": [("user", content)]})
    assert sum(seen["trace"][1]["bytes"].values()) > sum(text["trace"][1]["bytes"].values()) + 10


def test_a_conversation_over_sqlite(cast, home, tmp_path):
    server, devices = cast_of(home, model="scripted:turn {turn}")
    graph = device_server(server, devices, checkpointer=sqlite(tmp_path / "x"))
    thread = {"configurable": {"thread_id": "1"}}
    assert graph.invoke(cast.ask(), thread)["answers"]["math"] == "turn 1"
    assert graph.invoke(cast.ask("And then?"), thread)["answers"]["math"] == "turn 2"


def test_agents_fit_the_types(home):
    server, devices = cast_of(home)
    assert device_server(server, devices).name == "device_server"
