"""The serial graph over toy parties: the order of messages, what each refinement costs, faults marked, bad input."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langgraph.checkpoint.memory import InMemorySaver

sys.path.insert(0, str(Path(__file__).parents[1] / "agents" / "diffusion"))

import toys

from aiflow.agents.agent import Agent
from aiflow.agents.backends.diffusion import DiffusionBackend
from aiflow.agents.deployment import Deployment, connect
from aiflow.agents.diffusion.parties import loaded
from aiflow.agents.worker import Worker
from aiflow.bench.diffusion.unreliable import Fault, Unreliable
from aiflow.clock import VirtualClock
from aiflow.errors import AgentDiedError, AgentError, DeadlineError, InputError
from aiflow.graphs import fetch, serial

INPUT = {"prompt": "two meet", "segments": [["solo", 0], ["interaction", 12]], "frames": 20, "steps": 4, "seed": 7}
PACE = 0.25


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def home(clock: VirtualClock) -> Deployment:
    return connect(toys.HOME, local=True, clock=clock)


def put(home: Deployment, name: str, node: str, role: str, fault: Fault | None = None) -> Agent:
    party = toys.Composer if role == "ins" else toys.Refiner

    def make() -> Worker:
        return Worker(DiffusionBackend.of(loaded(party(), "motion", role), pace=PACE), home.network.clock)

    return toys.place(home, name, node, Unreliable(make, fault))


def pair(home: Deployment, ins: Fault | None = None, rec: Fault | None = None) -> tuple[Agent, Agent]:
    return put(home, "ins", "phone", "ins", ins), put(home, "rec", "laptop", "rec", rec)


async def go(clock: VirtualClock, home: Deployment, graph: Any, **more: Any) -> tuple[dict[str, Any], Any]:
    async def main() -> tuple[dict[str, Any], Any]:
        state = await graph.ainvoke(INPUT | more)
        return state, await fetch(state, home)

    async with asyncio.timeout(20):
        return await clock.run(main())


def expected(refine: str) -> Any:
    u = np.random.default_rng(7).standard_normal((2, 20, 262)).astype(np.float32)
    if refine == "loop":
        for _ in range(3):
            u = (u + 1) * np.float32(0.5)
    return u if refine == "none" else u + 1


@pytest.mark.parametrize(("refine", "messages"), [("none", 0), ("post", 1), ("loop", 8)])
async def test_what_crosses(home: Deployment, clock: VirtualClock, refine: Any, messages: int) -> None:
    graph = serial(*pair(home), refine=refine, deliver=False)
    state, motion = await go(clock, home, graph)
    assert np.array_equal(motion.u, expected(refine))
    assert (state["refined"], state["marks"], state["reason"]) == (refine != "none", [], "")
    assert motion.refine == refine
    assert state["trace"]["messages"] == messages
    assert "tensor" not in str(state)
    assert len(str(state)) < 3000


async def test_faults_of_the_refiner(home: Deployment, clock: VirtualClock) -> None:
    for refine in ("post", "loop"):
        for kind, at in (("die", 1), ("hang", 1), ("garble reply", 1), ("hang", 3)):
            if refine == "post" and at > 1:
                continue
            graph = serial(*pair(home, rec=Fault(kind=kind, at=at, calls=None)), refine=refine, grace=1.0)  # type: ignore[arg-type]
            state, motion = await go(clock, home, graph)
            assert np.array_equal(motion.u, expected("none"))
            assert state["refined"] is False
            assert "rec" in state["marks"][-1]
            assert "the composer's motion is not refined" in state["marks"][-1]
            assert state["reason"]
            assert motion.refine == "none"


@pytest.mark.parametrize("refine", ["post", "loop"])
@pytest.mark.parametrize("kind", ["die", "die after", "garble request", "garble reply"])
async def test_one_fault_is_survived_and_marked(home: Deployment, clock: VirtualClock, refine: Any, kind: Any) -> None:
    for who in ("ins", "rec"):
        for at in (1, 2, 3):
            graph = serial(*pair(home, **{who: Fault(kind=kind, at=at)}), refine=refine)
            state, motion = await go(clock, home, graph)
            host = home[who].host
            assert isinstance(host, Unreliable)
            assert np.array_equal(motion.u, expected(refine))
            assert state["refined"]
            assert bool(state["marks"]) == bool(host.struck) or host.calls > at


async def test_without_a_composer(home: Deployment, clock: VirtualClock) -> None:
    for kind, error in (("die", AgentDiedError), ("hang", DeadlineError), ("garble reply", AgentError)):
        for at in (1, 3):
            graph = serial(*pair(home, ins=Fault(kind=kind, at=at, calls=None)), refine="loop", deadline=2.0)  # type: ignore[arg-type]
            with pytest.raises(error) as caught:
                await go(clock, home, graph)
            assert caught.value.agent == "ins"


@pytest.mark.parametrize("deliver", [True, False])
async def test_a_result_that_is_delivered_outlives_its_agent(
    home: Deployment, clock: VirtualClock, deliver: bool
) -> None:
    ins, rec = pair(home)
    graph = serial(ins, rec, deliver=deliver)  # as long as it is there, so is what it was brought
    state = await clock.run(graph.ainvoke(INPUT))  # type: ignore[arg-type]
    assert isinstance(ins.host, Unreliable)
    assert isinstance(rec.host, Unreliable)
    ins.host.fault = rec.host.fault = Fault(kind="die", at=1, calls=None)
    if deliver:
        assert np.array_equal((await clock.run(fetch(state, home))).u, expected("post"))
    else:
        with pytest.raises(AgentDiedError):
            await clock.run(fetch(state, home))


async def test_a_replica_goes_on(home: Deployment, clock: VirtualClock) -> None:
    ins, rec = pair(home, ins=Fault(kind="die", at=4, calls=None))
    graph = serial([ins, put(home, "spare", "tablet", "ins")], rec, refine="loop", deadline=2.0)
    state, motion = await go(clock, home, graph)
    assert np.array_equal(motion.u, expected("loop"))
    assert any("'spare' was asked instead" in mark for mark in state["marks"])


async def test_the_stream_tells_of_steps(home: Deployment, clock: VirtualClock) -> None:
    graph = serial(*pair(home), refine="loop")

    async def main() -> list[Any]:
        return [event async for event in graph.astream(INPUT | {"request": "q"}, stream_mode="custom")]

    heard = await clock.run(main())
    assert {event["request"] for event in heard} == {"q"}
    assert [event["step"] for event in heard if "steps" not in event] == [1, 2, 3, 4]


async def test_the_same_request_finds_what_is_held(home: Deployment, clock: VirtualClock) -> None:
    ins, rec = pair(home)
    graph = serial(ins, rec)
    first, _ = await go(clock, home, graph, request="again")
    began = clock.now()
    second, motion = await go(clock, home, graph, request="again")
    assert second["result"] == first["result"]
    assert np.array_equal(motion.u, expected("post"))
    assert clock.now() - began < 2 * PACE


async def test_a_checkpoint_holds_handles(home: Deployment, clock: VirtualClock) -> None:
    graph = serial(*pair(home), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    await clock.run(graph.ainvoke(INPUT, config))
    state = graph.get_state(config).values  # type: ignore[arg-type]
    motion = await clock.run(fetch(state, home))
    assert np.array_equal(motion.u, expected("post"))


def test_synchronous() -> None:
    home = connect(toys.HOME, local=True, emulate=False)
    graph = serial(*pair(home))
    state = graph.invoke(INPUT)  # type: ignore[arg-type]
    assert state["refined"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": " "}, "empty"),
        ({"prompt": None}, "prompt=None"),
        ({"segments": []}, None),
        ({"segments": "solo"}, "segments='solo'"),
        ({"segments": [["dance", 0]]}, "kinds"),
        ({"segments": [["solo", -1]]}, "starts"),
        ({"seed": -1}, "seed=-1"),
        ({"guidance": float("nan")}, "guidance=nan"),
        ({"request": "x" * 49}, "cannot name a run"),
    ],
)
async def test_bad_input(home: Deployment, clock: VirtualClock, change: Any, said: str | None) -> None:
    graph = serial(*pair(home))
    if said is None:  # the toy does not mind; the real composer does
        return
    with pytest.raises(InputError, match=said):
        await go(clock, home, graph, **change)


async def test_bad_arguments(home: Deployment, clock: VirtualClock) -> None:
    ins, rec = pair(home)
    with pytest.raises(InputError, match="refine='twice'"):
        serial(ins, rec, refine="twice")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs a refiner"):
        serial(ins)
    ins.facts["model"] = "aiflow:motion#ins"
    with pytest.raises(InputError, match="cannot be the refiner"):
        serial(ins, ins)
    with pytest.raises(InputError, match="holds no result"):
        await clock.run(fetch({}, home))
