"""The graph that follows the plan: modes by real abilities of real models, late links, dead agents, wishes."""

from typing import Any

import pytest

from aiflow.agents.deployment import Deployment, connect
from aiflow.clock import VirtualClock
from aiflow.cluster.profiles import Profiles
from aiflow.errors import BackendError, InputError, UsageError
from aiflow.graphs.workflows.adaptive import adaptive
from aiflow.graphs.workflows.planner import Planner
from aiflow.types import Options

FAMILY = "aiflow:nano/family"
HOME = """
nodes: {{phone: device, hub: cloud}}
links:
  - {{between: [device, cloud], rate: {rate}, rtt: 20 ms}}
"""
QUESTION = {"messages": [("user", "What is 17 + 25?")]}
EXIT = {"exit": 2, "prefill": 2000, "decode": 0.004, "acceptance": 0.9}


def agent(name: str, node: str, **more: Any) -> dict[str, Any]:
    return {"agent": name, "node": node, "prefill": 1000, "decode": 0.01, "capacity": 1.0, "flops": 1e9, **more}


def profiles(phone: dict[str, Any], hub: dict[str, Any], **more: Any) -> Profiles:
    return Profiles(
        agents=[agent("phone", "phone", **phone), agent("hub", "hub", **{"flops": 1e10, **hub})],
        **more,
    )


def scripted(clock: VirtualClock, rate: str, phone: dict[str, Any], hub: dict[str, Any]) -> Deployment:
    cluster = connect(HOME.format(rate=rate), local=True, clock=clock)
    cluster.agent("phone", node="phone", model="scripted:from the phone", **phone)
    cluster.agent("hub", node="hub", model="scripted:from the hub", **hub)
    return cluster


def graph(cluster: Deployment, known: Profiles, **more: Any) -> tuple[Any, Planner]:
    planner = Planner(known, cluster.topology)
    return adaptive(planner, cluster["phone"], [cluster["hub"]], **more), planner


async def test_the_wish_decides_who_answers() -> None:
    clock = VirtualClock()
    cluster = scripted(clock, "1 MB/s", {"token_delay": 0.01}, {"token_delay": 0.1})
    flow, _ = graph(cluster, profiles({}, {"decode": 0.1}), output_tokens=10)

    async def both() -> tuple[Any, Any]:
        best = await flow.ainvoke(QUESTION)
        return best, await flow.ainvoke(QUESTION, {"configurable": {"quality": "fast"}})

    best, fast = await clock.run(both())
    assert (best["messages"][-1].content, best["plan"]["mode"]) == ("from the hub", "server_only")
    assert (fast["messages"][-1].content, fast["plan"]["mode"]) == ("from the phone", "on_device")
    assert [line["step"] for line in best["trace"]] == ["plan", "answer"]
    assert best["trace"][1]["bytes"]["phone-hub"] > 0
    assert fast["trace"][1]["bytes"] == {}


async def test_a_dead_link_costs_its_patience_and_is_used_again_when_it_is_back() -> None:
    clock = VirtualClock()
    rate = "{trace: [[0, 1 MB/s], [1 s, 0], [30 s, 1 MB/s]]}"
    cluster = scripted(clock, rate, {"token_delay": 0.1}, {"token_delay": 0.1})
    known = profiles({"decode": 0.1}, {"decode": 0.01})
    flow, planner = graph(cluster, known, quality="fast", output_tokens=10)

    async def talk() -> list[tuple[float, Any]]:
        found = []
        for moment in (0.0, 1.5, 10.0, 29.0, 35.0, 40.0):
            await clock.sleep_until(moment)
            found.append((clock.now(), await flow.ainvoke(QUESTION), clock.now()))
        return [(end - begun, state) for begun, state, end in found]

    before, cut, during, _, _, after = await clock.run(talk())
    assert before[1]["plan"]["taken"].startswith("server_only")
    assert cut[1]["plan"]["tries"] == ["server_only", "on_device"]
    assert cut[1]["messages"][-1].content == "from the phone"
    assert cut[0] < 2.5  # and not 28
    assert during[1]["plan"]["tries"] == ["on_device"]  # known to be down
    assert after[1]["plan"]["taken"].startswith("server_only")  # a look found it up
    assert planner.version > 0


async def test_a_dead_agent_is_planned_around() -> None:
    clock = VirtualClock()
    cluster = scripted(clock, "1 MB/s", {}, {"fail": "raise"})
    flow, _ = graph(cluster, profiles({"decode": 0.1}, {}), quality="fast")
    state = await clock.run(flow.ainvoke(QUESTION))
    assert state["messages"][-1].content == "from the phone"
    assert [(line["agent"], line["ok"]) for line in state["trace"]] == [
        ("phone", True),
        ("hub", False),
        ("phone", True),
    ]


async def test_only_the_top_models_text_counts_as_exact_until_the_deadline() -> None:
    clock = VirtualClock()
    cluster = scripted(clock, "{trace: [[0, 0], [60 s, 1 MB/s]]}", {}, {})
    flow, _ = graph(cluster, profiles({}, {}), exact=True, deadline=5.0)
    state = await clock.run(flow.ainvoke(QUESTION))
    assert state["messages"][-1].content == "from the phone"  # the last resort
    assert clock.now() < 5.5


async def test_all_failing_is_one_typed_error() -> None:
    clock = VirtualClock()
    cluster = scripted(clock, "1 MB/s", {"fail": "raise"}, {"fail": "raise"})
    flow, _ = graph(cluster, profiles({}, {}))
    with pytest.raises(BackendError):
        await clock.run(flow.ainvoke(QUESTION))


def test_agents_that_the_planner_does_not_know() -> None:
    cluster = scripted(VirtualClock(), "1 MB/s", {}, {})
    other = cluster.agent("other", node="hub", model="scripted:x")
    planner = Planner(profiles({}, {}), cluster.topology)
    with pytest.raises(UsageError, match="other"):
        adaptive(planner, cluster["phone"], [other])
    with pytest.raises(UsageError, match="device 'phone'"):
        adaptive(planner, cluster["hub"], [])
    with pytest.raises(InputError, match="quality"):
        adaptive(planner, cluster["phone"], [cluster["hub"]], quality=7)


@pytest.fixture
async def real() -> Any:
    """A phone with the family's second member, and a hub with the full model."""
    async with connect(HOME.format(rate="1 MB/s"), local=True, emulate=False) as cluster:
        cluster.agent("phone", node="phone", model=f"{FAMILY}#2", options={"max_tokens": 24})
        cluster.agent("hub", node="hub", model=FAMILY, options={"max_tokens": 24})
        yield cluster


@pytest.mark.parametrize(
    ("phone", "hub", "more", "mode"),
    [
        ({}, {"decode": 0.001}, {}, "server_only"),
        (
            {"family": "nano", "exits": [EXIT]},
            {"decode": 0.05, "family": "nano", "depth": 8, "width": 256},
            {},
            "split",
        ),
        (
            {"decode": 0.003},
            {"decode": 0.05},
            {"pairs": [{"draft": "phone", "judge": "hub", "acceptance": 0.9}]},
            "draft_verify",
        ),
    ],
)
async def test_every_exact_way_says_what_the_top_model_says(
    real: Deployment, phone: dict[str, Any], hub: dict[str, Any], more: dict[str, Any], mode: str
) -> None:
    flow, planner = graph(real, profiles(phone, hub, **more), exact=True, options=Options(max_tokens=24))
    state = await flow.ainvoke(QUESTION)
    wanted = await real["hub"].ask("What is 17 + 25?")
    assert state["plan"]["taken"].startswith(mode)
    assert state["messages"][-1].content == wanted.text
    if mode == "server_only":
        assert planner.state(0.0).servers[0].load != 1.0  # it has learned


async def test_a_picture_goes_as_features(real: Deployment, png_of_objects: Any) -> None:
    settings = [{"device": "phone", "server": "hub", "tokens": 16, "level": 0, "nbytes": 120, "score": 0.9}]
    looks = {"encode": 0.001, "image_tokens": 64}
    known = profiles({**looks, "decode": 1.0}, {**looks, "prefill": 50}, settings=settings)
    wanted = await real["phone"].tofc_answer(  # loads the models, too
        png_of_objects, "How many objects?", server=real["hub"], tokens=16, level=0, options=Options(max_tokens=8)
    )
    flow, _ = graph(real, known, quality="fast", options=Options(max_tokens=8))
    message = {"role": "user", "content": [{"type": "image_url", "image_url": png_of_objects.url}, "How many objects?"]}
    state = await flow.ainvoke({"messages": [message]})
    assert state["plan"]["taken"].startswith("tofc phone > hub")
    assert state["messages"][-1].content == wanted.text


@pytest.fixture
def png_of_objects() -> Any:
    import io

    import PIL.Image

    from aiflow.nano.visual.draw import render
    from aiflow.nano.visual.suites import suite
    from aiflow.types import Image

    raw = io.BytesIO()
    PIL.Image.fromarray(render(suite("mme", 1)[0].scene)).save(raw, "PNG")
    return Image(raw.getvalue())
