import json

import pytest

from aiflow.errors import InputError
from aiflow.graphs import device_server
from aiflow.types import Options


def run(graph, question):
    return graph.invoke(question)


async def test_the_four_steps(cast):
    server, devices = cast.hub(), cast.team()
    state = await device_server(server, devices).ainvoke(cast.ask())
    assert state["messages"][-1].type == "ai"
    assert state["messages"][-1].content == state["merged"] == "the joint answer"
    assert len(state["messages"]) == 2
    assert state["selected"] == ["math", "code"]
    assert state["answers"] == {"math": "math first", "code": "code first"}
    assert state["finals"] == {"math": "math revised", "code": "code revised"}
    assert [(r["step"], r["agent"], r["node"]) for r in state["trace"]] == [
        ("select", "hub", "node-hub"),
        ("answer", "math", "node-math"),
        ("answer", "code", "node-code"),
        ("merge", "hub", "node-hub"),
        ("revise", "math", "node-math"),
        ("revise", "code", "node-code"),
    ]
    assert all(r["ok"] for r in state["trace"])
    assert json.loads(json.dumps(state["trace"])) == state["trace"]
    roles = [(m.role, m.text) for m in devices[0].asked[-1]]
    assert roles == [
        ("user", "What is 2+2?"),
        ("assistant", "math first"),
        ("user", "The joint answer is: the joint answer\nWrite your final answer."),
    ]
    assert not devices[2].asked


def test_sync_equals_async(cast):
    state = run(device_server(cast.hub(), cast.team()), cast.ask())
    assert state["finals"] == {"math": "math revised", "code": "code revised"}


async def test_requests_leave_from_the_server_with_their_options(cast):
    server, devices = cast.hub(), cast.team()
    how = {"options": Options(max_tokens=9), "server_options": Options(max_tokens=99), "deadline": 3.0}
    await device_server(server, devices, **how).ainvoke(cast.ask())
    assert devices[0].calls == [{"sender": "node-hub", "options": how["options"], "deadline": 3.0}] * 2
    assert server.calls == [{"sender": None, "options": how["server_options"], "deadline": 3.0}] * 2
    await device_server(server, devices, deadline=3.0, server_deadline=7.0).ainvoke(cast.ask())
    assert server.calls[-1]["deadline"] == 7.0


async def test_no_revision(cast):
    state = await device_server(cast.hub(), cast.team(), revise=False).ainvoke(cast.ask())
    assert state["finals"] == state["answers"] == {"math": "math first", "code": "code first"}
    assert [r["step"] for r in state["trace"]] == ["select", "answer", "answer", "merge"]


async def test_all_revise_but_only_the_selected_are_merged(cast):
    server, devices = cast.hub("bio, geo"), cast.team()
    state = await device_server(server, devices, revise="all").ainvoke(cast.ask())
    assert state["selected"] == ["bio", "geo"]
    assert [*state["answers"]] == ["bio", "geo", "math", "code", "verse"]
    assert "math first" not in server.heard
    assert "bio first" in server.heard
    assert state["finals"] == {d.name: f"{d.name} revised" for d in devices}


async def test_without_the_selected_the_others_are_merged(cast):
    server = cast.hub("bio, geo")
    state = await device_server(server, cast.team(bio=cast.DEAD, geo=cast.DEAD), revise="all").ainvoke(cast.ask())
    assert "math first" in server.heard
    assert set(state["finals"]) == {"math", "code", "verse"}


async def test_rounds_merge_the_revised_answers(cast):
    merges = iter(["one", "two", "three"])
    server, devices = cast.hub(merge=lambda _: next(merges)), cast.team()
    state = await device_server(server, devices, rounds=3).ainvoke(cast.ask())
    assert state["merged"] == state["messages"][-1].content == "three"
    assert len(state["messages"]) == 2
    assert "math revised" in server.heard
    assert devices[0].asked[2][1].text == "math revised"
    assert devices[0].heard.startswith("The joint answer is: three")
    steps = [r["step"] for r in state["trace"]]
    assert steps == ["select", "answer", "answer", *["merge", "revise", "revise"] * 3]


async def test_a_server_that_dies_between_rounds_leaves_its_last_answer(cast):
    merges = iter(["one", cast.DEAD])
    state = await device_server(cast.hub(merge=lambda _: next(merges)), cast.team(), rounds=2).ainvoke(cast.ask())
    assert state["merged"] == "one"
    assert "the last merged answer stays" in cast.notes(state, "merge")


@pytest.mark.parametrize(
    ("how", "text"),
    [("synthesis", "code"), ("vote", "math first"), ("best_of_n", "code first"), ("rank", "code first")],
)
async def test_ways_to_merge(cast, how, text):
    state = await device_server(cast.hub(merge="code"), cast.team(), merge=how).ainvoke(cast.ask())
    assert state["merged"] == text


@pytest.mark.parametrize("selector", ["server", "tfidf", "all", lambda texts: [[1.0, len(t)] for t in texts]])
@pytest.mark.parametrize("select", [1, 3, 5, 50, "all"])
async def test_ways_to_select(cast, selector, select):
    state = await device_server(cast.hub(), cast.team(), selector=selector, select=select).ainvoke(cast.ask())
    count = 5 if selector == "all" or select == "all" else min(select, 5)
    assert len(state["selected"]) == len(state["answers"]) == count


async def test_one_device(cast):
    state = await device_server(cast.hub(), cast.team()[:1]).ainvoke(cast.ask())
    assert (state["merged"], state["finals"]) == ("the joint answer", {"math": "math revised"})


async def test_images_reach_the_devices_and_the_server(cast, png):
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": png.url}}]
    server, devices = cast.hub(), cast.team()
    await device_server(server, devices).ainvoke({"messages": [{"role": "user", "content": content}]})
    assert [turns[-1].images for turns in server.asked] == [(png,), (png,)]
    assert devices[0].asked[0][0].images == devices[0].asked[1][0].images == (png,)


async def test_a_conversation_is_passed_on_whole(cast):
    talk = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "2+2?")]
    server, devices = cast.hub(), cast.team()
    await device_server(server, devices).ainvoke({"messages": talk})
    assert [m.role for m in devices[0].asked[0]] == ["system", "user", "assistant", "user"]
    assert server.heard.startswith("System: Be brief.\nUser: Hi\nAssistant: Hello\nUser: 2+2?\n\nAnswers:")


async def test_the_context_limit_holds_for_every_call(cast):
    server = cast.hub()
    graph = device_server(server, cast.team(math="m" * 9000, code="c" * 9000), context_limit=800)
    state = await graph.ainvoke({"messages": [("user", "x" * 5000), ("assistant", "y"), ("user", "z" * 5000)]})
    assert max(len(turns[-1].text) for turns in server.asked) <= 800
    assert "1 oldest" in cast.notes(state, "merge") or "2 oldest" in cast.notes(state, "merge")


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([], "the question is empty"),
        ([("user", "")], "the question is empty"),
        ([("user", "  \n")], "the question is empty"),
        ([("user", "2+2?"), ("assistant", "4")], "not the user's"),
        ([("user", [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}])], "data URL"),
        ([("user", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}])], "not an image"),
    ],
)
def test_a_bad_question_is_one_clear_line(cast, messages, match):
    server, devices = cast.hub(), cast.team()
    with pytest.raises(InputError, match=match) as error:
        device_server(server, devices).invoke({"messages": messages})
    assert "\n" not in str(error.value)
    assert not server.asked


async def test_models_that_load_are_waited_for_once(cast):
    server, devices, waited = cast.hub(), cast.team(), []

    async def ready():
        waited.append(1)
        raise RuntimeError("shows when it is asked")

    devices[0].ready = ready
    graph = device_server(server, devices)
    await graph.ainvoke(cast.ask())
    await graph.ainvoke(cast.ask())
    assert waited == [1]
