"""The asker's side: from where to where messages go, what is counted, deadlines, replicas, lost and damaged results."""

import asyncio
from typing import Any

import pytest
import toys
from test_part import compose

from aiflow.agents.agent import Agent
from aiflow.agents.backends.diffusion import DiffusionBackend
from aiflow.agents.deployment import Deployment
from aiflow.agents.diffusion import wire
from aiflow.agents.diffusion.crew import Crew
from aiflow.agents.diffusion.line import Held, Line
from aiflow.agents.diffusion.parties import loaded
from aiflow.agents.worker import Worker
from aiflow.bench.diffusion.unreliable import Fault, Unreliable
from aiflow.clock import VirtualClock
from aiflow.errors import AgentDiedError, BackendError, DeadlineError, InputError, MessageError


def unreliable(cluster: Deployment, name: str, node: str, party: Any, fault: Fault | None = None) -> Agent:
    role = "ins" if party is toys.Composer else "rec"

    def make() -> Worker:
        return Worker(DiffusionBackend.of(loaded(party(), "motion", role), pace=0.1), cluster.network.clock)

    return toys.place(cluster, name, node, Unreliable(make, fault))


def line(cluster: Deployment, **more: Any) -> Line:
    return Line("r", cluster.network, "hub", **{"deadline": 5.0} | more)


async def run(clock: VirtualClock, main: Any) -> Any:
    async with asyncio.timeout(20):
        return await clock.run(main)


async def test_data_goes_from_node_to_node(simulated: Deployment, clock: VirtualClock) -> None:
    ins = toys.agent(simulated, "ins", "phone", toys.Composer(), "motion", "ins", pace=0.5)
    rec = toys.agent(simulated, "rec", "laptop", toys.Refiner(), "motion", "rec", pace=0.25)
    here = line(simulated)

    async def main() -> bytes:
        held = await here.call(ins, compose(frames=40))
        assert held.data is None
        return await here.bring(await here.call(rec, held))

    data = await run(clock, main())
    trace = here.trace()
    flows = {(f["from"], f["to"], f["kind"]): f for f in trace["flows"]}
    assert list(flows) == [
        ("hub", "phone", "motion.Compose"),
        ("phone", "laptop", "motion.Estimate"),
        ("laptop", "hub", "motion.Refined"),
    ]
    assert flows["laptop", "hub", "motion.Refined"]["bytes"] == len(data)
    assert (trace["messages"], trace["marks"]) == (3, [])
    assert trace["control"] == 4  # two handles, two requests to send
    assert trace["nodes"]["phone"] == {"agents": ["ins"], "calls": 1, "seconds": pytest.approx(0.5)}
    assert trace["bytes"] == sum(simulated.network.totals().values())
    assert {name: link["bytes"] for name, link in trace["links"].items()} == {
        name: nbytes for name, nbytes in simulated.network.totals().items() if nbytes
    }
    assert trace["seconds"] == pytest.approx(0.75 + trace["link_seconds"])
    assert clock.now() == pytest.approx(trace["seconds"])


async def test_a_trace_goes_on(simulated: Deployment, clock: VirtualClock) -> None:
    ins = toys.agent(simulated, "ins", "phone", toys.Composer(), "motion", "ins")
    first = line(simulated)
    await run(clock, first.call(ins, compose()))
    second = line(simulated, trace=first.trace())
    await run(clock, second.call(ins, compose("other")))
    assert second.trace()["messages"] == 2
    assert second.trace()["nodes"]["phone"]["calls"] == 2


@pytest.mark.parametrize("kind", ["die", "die after", "garble reply", "garble request"])
async def test_asked_once_more(simulated: Deployment, clock: VirtualClock, kind: Any) -> None:
    ins = unreliable(simulated, "ins", "phone", toys.Composer, Fault(kind=kind, at=1))
    here = line(simulated)
    data = (await run(clock, here.call(ins, compose(), bring=True))).data
    assert data == toys.Composer().handle(compose())
    assert len(here.trace()["marks"]) == 1
    assert "ins: " in here.trace()["marks"][0]


@pytest.mark.parametrize(
    ("kind", "error"), [("die", AgentDiedError), ("hang", DeadlineError), ("garble reply", BackendError)]
)
async def test_without_a_replica(simulated: Deployment, clock: VirtualClock, kind: Any, error: Any) -> None:
    ins = unreliable(simulated, "ins", "phone", toys.Composer, Fault(kind=kind, at=1, calls=None))
    with pytest.raises(error, match=None if kind == "die" else "'ins'") as caught:
        await run(clock, line(simulated).call(ins, compose(), deadline=2.0))
    assert caught.value.agent == "ins"
    assert clock.now() <= 2.0 + 1e-9


@pytest.mark.parametrize("kind", ["die", "hang", "garble request"])
async def test_with_a_replica(simulated: Deployment, clock: VirtualClock, kind: Any) -> None:
    ins = unreliable(simulated, "ins", "phone", toys.Composer, Fault(kind=kind, at=1, calls=None))
    other = unreliable(simulated, "other", "tablet", toys.Composer)
    here = line(simulated)
    held = await run(clock, here.call([ins, other], compose(), bring=True, deadline=2.0))
    assert (held.agent, held.data) == ("other", toys.Composer().handle(compose()))
    assert "'other' was asked instead" in here.trace()["marks"][-1]


@pytest.mark.parametrize("at", [2, 3])
async def test_a_lost_result_is_computed_again(simulated: Deployment, clock: VirtualClock, at: int) -> None:
    ins = unreliable(simulated, "ins", "phone", toys.Composer, Fault(kind="die", at=at))
    rec = toys.agent(simulated, "rec", "laptop", toys.Refiner(), "motion", "rec")
    here = line(simulated)

    async def main() -> bytes:
        held = await here.call(ins, compose())
        if at == 3:
            assert await here.bring(held)
        return await here.bring(await here.call(rec, held))

    expected = toys.Refiner().handle(toys.Composer().handle(compose()))
    assert await run(clock, main()) == expected
    assert any("computed again" in mark for mark in here.trace()["marks"])


async def test_a_result_that_nobody_can_make_again(simulated: Deployment, clock: VirtualClock) -> None:
    ins = unreliable(simulated, "ins", "phone", toys.Composer)
    held = await run(clock, line(simulated).call(ins, compose()))
    fresh = line(simulated)
    with pytest.raises(BackendError, match="nobody here knows agent 'ins'"):
        await run(clock, fresh.bring(held))
    fresh.knows([ins], held)
    assert await run(clock, fresh.bring(held))
    await ins.host.call(wire.PART, wire.encode(wire.Drop(keys=[held.key])))
    with pytest.raises(BackendError, match="no longer has a result"):
        await run(clock, fresh.bring(held))


async def test_what_a_party_refuses_is_not_asked_again(simulated: Deployment, clock: VirtualClock) -> None:
    ins = unreliable(simulated, "ins", "phone", toys.Composer)
    other = unreliable(simulated, "other", "tablet", toys.Composer)
    with pytest.raises(InputError, match="empty"):
        await run(clock, line(simulated).call([ins, other], compose(prompt="")))
    with pytest.raises(MessageError, match="expected"):
        await run(clock, line(simulated).call([ins, other], toys.Composer().handle(compose())))
    assert isinstance(other.host, Unreliable)
    assert other.host.calls == 0


def test_a_handle_is_json() -> None:
    held = Held(agent="a", node="n", key="k", kind="motion.Motion", nbytes=3, digest="d", data=b"abc")
    assert Held.of(held.handle()) == Held(agent="a", node="n", key="k", kind="motion.Motion", nbytes=3, digest="d")
    with pytest.raises(InputError, match="no handle"):
        Held.of({"agent": "a"})


async def test_a_crew_is_checked(simulated: Deployment, here: Deployment) -> None:
    ins = toys.agent(simulated, "ins", "phone", toys.Composer(), "motion", "ins")
    alien = toys.agent(here, "alien", "phone", toys.Refiner(), "motion", "rec")
    wrong = toys.agent(simulated, "wrong", "phone", toys.Refiner(), "motion", "rec")
    wrong.facts["model"] = "aiflow:motion#rec"
    talker = toys.agent(simulated, "talker", "phone", toys.Refiner(), "motion", "rec")
    talker.facts["model"] = "scripted:echo"
    parts: Any
    for parts, said in (
        ({"composer": ("ins", ins), "refiner": ("rec", alien)}, "different deployments"),
        ({"composer": ("ins", wrong)}, "cannot be the composer; give one of model 'aiflow:motion#ins'"),
        ({"composer": ("ins", talker)}, "'talker' .scripted:echo. cannot be"),
        ({"composer": ("ins", "ins")}, "must be an agent"),
        ({"composer": ("ins", [])}, "empty"),
    ):
        with pytest.raises(InputError, match=said):
            Crew("motion", parts)
    with pytest.raises(InputError, match="deadline='soon'"):
        Crew("motion", {"composer": ("ins", ins)}, deadline="soon")  # type: ignore[arg-type]


async def test_progress_is_told(here: Deployment) -> None:
    class Slow(toys.Composer):
        def handle(self, payload: bytes) -> bytes:
            import time

            self.on_step("r", 1, 3)
            time.sleep(0.5)
            return super().handle(payload)

    ins, heard = toys.agent(here, "ins", "phone", Slow(), "motion", "ins"), []
    await Line("r", here.network, "hub", write=heard.append).call(ins, compose())
    assert heard == [{"request": "r", "agent": "ins", "node": "phone", "step": 1, "steps": 3}]
