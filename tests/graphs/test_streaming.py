import pytest

from aiflow.graphs import device_server

EXPECTED = [
    ("select", "hub", "math, code "),
    ("answer", "math", "math first "),
    ("answer", "code", "code first "),
    ("merge", "hub", "the joint answer "),
    ("revise", "math", "math revised "),
    ("revise", "code", "code revised "),
]


def told(events):
    """The deltas of each step and agent, joined, in order of their first one."""
    texts = {}
    for event in events:
        key = event["step"], event["agent"]
        texts[key] = texts.get(key, "") + event["delta"]
    return [(*key, text) for key, text in texts.items()]


def test_tokens_come_from_inside_the_nodes(cast):
    graph = device_server(cast.hub(), cast.team())
    assert told(graph.stream(cast.ask(), stream_mode="custom")) == EXPECTED


async def test_tokens_come_from_inside_the_nodes_async(cast):
    graph = device_server(cast.hub(), cast.team())
    assert told([e async for e in graph.astream(cast.ask(), stream_mode="custom")]) == EXPECTED


async def test_every_stream_mode(cast):
    graph = device_server(cast.hub(), cast.team())
    seen = {}
    async for mode, event in graph.astream(
        cast.ask(), stream_mode=["values", "updates", "messages", "custom", "debug", "tasks"]
    ):
        seen.setdefault(mode, []).append(event)
    assert [[*update] for update in seen["updates"]] == [["select"], ["answer"], ["merge"], ["revise"]]
    assert seen["values"][-1]["finals"] == {"math": "math revised", "code": "code revised"}
    assert [(m.content, where["langgraph_node"]) for m, where in seen["messages"]] == [("the joint answer", "merge")]
    assert seen["custom"]
    assert seen["tasks"]
    sync = [*graph.stream(cast.ask(), stream_mode=["values", "updates", "messages"])]
    assert [[*u] for mode, u in sync if mode == "updates"] == [["select"], ["answer"], ["merge"], ["revise"]]


async def test_without_a_listener_nothing_is_streamed(cast):
    """A message per token on every link, that nobody reads, would not be honest bytes."""
    server, devices = cast.hub(), cast.team()

    async def stream(*_, **__):
        raise AssertionError("streamed")
        yield

    for agent in (server, *devices):
        agent.stream = stream
    graph = device_server(server, devices)
    await graph.ainvoke(cast.ask())
    graph.invoke(cast.ask())
    assert [*graph.stream(cast.ask(), stream_mode="updates")]
    with pytest.raises(AssertionError, match="streamed"):
        [_ async for _ in graph.astream(cast.ask(), stream_mode="custom")]


async def test_a_stream_without_an_end_is_a_failure(cast):
    devices = cast.team()

    async def stream(*_, **__):
        for piece in ():
            yield piece

    devices[0].stream = stream
    state = [
        s
        async for m, s in device_server(cast.hub(), devices).astream(cast.ask(), stream_mode=["custom", "values"])
        if m == "values"
    ][-1]
    assert set(state["answers"]) == {"code"}
    assert "the stream ended without an answer" in str(state["trace"])


async def test_leaving_a_stream_cancels_the_agents(cast):
    devices = cast.team()
    devices[0].delay = 60
    stream = device_server(cast.hub(), devices).astream(cast.ask(), stream_mode="custom")
    async for event in stream:
        if event["agent"] == "code":
            break
    await stream.aclose()
    assert devices[0].cancelled == 1
