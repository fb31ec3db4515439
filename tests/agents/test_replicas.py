"""Roles: who is asked, what happens when replicas fail, hang, leave, join and return; on simulated time."""

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiflow.agents.deployment import Deployment
from aiflow.agents.replicas import Role
from aiflow.agents.replicas.balance import Balance
from aiflow.errors import (
    AgentDiedError,
    BackendError,
    ClusterError,
    DeadlineError,
    InputError,
    PlacementError,
    TopologyError,
)
from aiflow.types import Answer


def simulation(test: Callable[[Deployment], Any]) -> Callable[[Deployment], Awaitable[None]]:
    """Runs a test in simulated time."""

    @functools.wraps(test)
    async def run(simulated: Deployment) -> None:
        await simulated.network.clock.run(test(simulated))  # type: ignore[attr-defined]

    return run


def _role(
    cluster: Deployment, *faults: dict[str, Any], patience: float | None = None, model: str = "scripted:echo"
) -> Role:
    nodes = list(cluster.topology.nodes)
    agents = [
        cluster.agent(f"r{number}", node=nodes[number % len(nodes)], model=model, **fault)
        for number, fault in enumerate(faults)
    ]
    return Role("echo", agents, patience=patience)


async def _texts(role: Role, count: int, **arguments: Any) -> list[Answer]:
    return list(await asyncio.gather(*(role.ask(f"question {n}", **arguments) for n in range(count))))


@simulation
async def test_load_is_shared(simulated: Deployment) -> None:
    role = _role(simulated, {"delay": 1.0}, {"delay": 1.0}, {"delay": 4.0})
    answers = [answer for _ in range(10) for answer in await _texts(role, 9)]
    assert [answer.text for answer in answers] == [f"question {n}" for n in range(9)] * 10
    assert {answer.agent for answer in answers} == {"echo"}
    counts = [(await agent.totals()).answered for agent in role.replicas.values()]
    assert sum(counts) == 90
    assert counts[2] < min(counts[:2]) / 2  # the slow one gets less, not nothing
    assert counts[2] > 0
    assert role.spent.answers == 90
    assert {load.in_flight for load in role.loads.values()} == {0}


@simulation
async def test_what_one_loses_another_answers(simulated: Deployment) -> None:
    role = _role(simulated, {"fail": "die"}, {"fail": "raise"}, {"fail": "garbage"}, {"delay": 0.2})
    answers = await _texts(role, 20)
    assert [answer.text for answer in answers] == [f"question {n}" for n in range(20)]
    assert {answer.node for answer in answers} == {role.replicas["r3"].node}
    assert {answer.agent for answer in answers} == {"echo"}


@simulation
async def test_a_late_one_is_joined_by_another(simulated: Deployment) -> None:
    role = _role(simulated, {"fail": "hang"}, {"delay": 0.5}, patience=2.0)
    began = simulated.network.clock.now()
    answer = await role.ask("question")
    assert answer.text == "question"
    assert simulated.network.clock.now() - began < 3.5
    totals = await role.replicas["r0"].totals()
    assert (totals.in_flight, totals.cancelled) == (0, totals.asked)


@simulation
async def test_nobody_answers(simulated: Deployment) -> None:
    with pytest.raises(BackendError, match="scripted to fail"):
        await _role(simulated, {"fail": "raise"}, {"fail": "raise"}).ask("question")
    dead = Role("dead", [simulated.agent("d", node="hub", model="scripted:echo", fail="die")])
    with pytest.raises(DeadlineError, match="'dead' did not answer within 3 s"):
        await dead.ask("question", deadline=3)
    with pytest.raises(AgentDiedError):  # after two minutes of simulated time
        await dead.ask("question")
    with pytest.raises(AgentDiedError):
        [piece async for piece in dead.stream("question")]


async def test_users_errors_are_not_retried(here: Deployment) -> None:
    role = _role(here, {}, {})
    with pytest.raises(InputError, match="empty"):
        await role.ask("")
    with pytest.raises(TopologyError, match="no node"):
        await role.ask("question", sender="nowhere")
    assert sum([(await agent.totals()).asked for agent in role.replicas.values()]) == 0
    assert {load.in_flight for load in role.loads.values()} == {0}
    for patience in (0, -1, float("inf"), float("nan")):
        with pytest.raises(InputError, match="patience"):
            Role("x", [role.replicas["r0"]], patience=patience)
    with pytest.raises(InputError, match="no replica"):
        Role("x", [])


@simulation
async def test_a_stream_goes_on_elsewhere(simulated: Deployment) -> None:
    words = " ".join(f"word{n}" for n in range(12))
    role = _role(simulated, {"token_delay": 0.1}, {"token_delay": 0.1}, patience=5.0, model=f"scripted:{words}")
    pieces = []
    async for piece in role.stream("question"):
        pieces.append(piece)
        if len(pieces) == 4:  # the one that is writing breaks off
            busy = next(name for name, load in role.loads.items() if load.in_flight)
            role.replicas[busy].host.worker._backend._fail = "die"  # type: ignore[attr-defined]
            next(iter(role.replicas[busy].host.worker._calls.values()))._stream = _broken()  # type: ignore[attr-defined]
    assert "".join(piece.text for piece in pieces[:-1]) == words
    assert isinstance(pieces[-1], Answer)
    assert pieces[-1].text == words
    assert sum([(await agent.totals()).errors for agent in role.replicas.values()]) == 1


async def _broken() -> Any:
    raise AgentDiedError("gone")
    yield


@simulation
async def test_a_stream_that_would_differ_is_an_error(simulated: Deployment) -> None:
    first = simulated.agent("a", node="phone", model="scripted:one two three four", token_delay=0.1)
    other = simulated.agent("b", node="hub", model="scripted:one 2 three four", delay=9.0)
    role = Role("two", [first, other])

    async def listen() -> None:
        async for _ in role.stream("question"):
            if first.host.worker._calls:  # type: ignore[attr-defined]
                first.host.worker._backend._fail = "die"  # type: ignore[attr-defined]
                next(iter(first.host.worker._calls.values()))._stream = _broken()  # type: ignore[attr-defined]

    with pytest.raises(BackendError, match="writes another text"):
        await listen()
    assert {load.in_flight for load in role.loads.values()} == {0}


@simulation
async def test_draining(simulated: Deployment) -> None:
    role = _role(simulated, {"delay": 1.0}, {"delay": 1.0})
    running = asyncio.ensure_future(_texts(role, 10))
    await simulated.network.clock.sleep_until(0.2)
    assert not await role.drain("r0", deadline=0.1)
    asked = (await role.replicas["r0"].totals()).asked
    assert await role.drain("r0", deadline=60)
    assert len(await running) == 10
    await _texts(role, 5)
    assert (await role.replicas["r0"].totals()).asked == asked
    await role.remove("r0")
    assert list(role.replicas) == ["r1"]
    with pytest.raises(ClusterError, match="last replica"):
        await role.remove("r1")


@simulation
async def test_nodes_join_and_leave(simulated: Deployment) -> None:
    role = simulated.role("echo", nodes="device", model="scripted:echo", delay=0.3)
    assert list(role.replicas) == ["echo@phone", "echo@laptop"]
    running = [asyncio.ensure_future(_texts(role, 10, sender="hub"))]
    await asyncio.sleep(0)
    with pytest.raises(TopologyError, match=r"nodes\.lonely"):
        simulated.join("lonely", "edge")
    simulated.join("tablet", "device", [{"between": ["tablet", "phone"], "rate": "1 MB/s"}])
    assert simulated.network.route("tablet", "hub") == ("tablet-hub",)  # by its tier
    assert role.grow("tablet").node == "tablet"
    running.append(asyncio.ensure_future(_texts(role, 30, sender="hub")))
    await asyncio.sleep(0)
    await simulated.leave("laptop")
    assert list(simulated.topology.nodes) == ["phone", "hub", "tablet"]
    assert list(simulated.agents) == ["echo@phone", "echo@tablet"]
    assert [len(answers) for answers in await asyncio.gather(*running)] == [10, 30]
    assert (await role.replicas["echo@tablet"].totals()).answered > 0
    with pytest.raises(TopologyError, match="no node"):
        simulated.network.route("hub", "laptop")
    with pytest.raises(TopologyError, match="already a node"):
        simulated.join("phone", "device")
    with pytest.raises(InputError, match="already an agent"):
        simulated.agent("echo", node="phone", model="scripted:")


@simulation
async def test_traffic_is_kept_when_nodes_come(simulated: Deployment) -> None:
    role = simulated.role("echo", nodes=["phone"], model="scripted:echo")
    await role.ask("question", sender="hub")
    before = simulated.network.totals()["phone-hub"]
    simulated.join("tablet", "device")
    assert simulated.network.totals() == {"phone-hub": before, "laptop-hub": 0, "tablet-hub": 0}


@simulation
async def test_churn(simulated: Deployment) -> None:
    """500 requests while replicas die, hang and are well again at random: each is answered, by its own answer."""
    rng = random.Random(0)
    role = _role(simulated, *({"delay": 0.2 + 0.1 * n} for n in range(4)), patience=2.0)
    clock = simulated.network.clock
    backends: list[Any] = [agent.host.worker._backend for agent in role.replicas.values()]  # type: ignore[attr-defined]

    async def spoil() -> None:
        while True:
            await clock.sleep_until(clock.now() + rng.uniform(0.2, 1.5))
            rng.choice(backends)._fail = rng.choice([None, None, "die", "hang", "raise"])
            if all(backend._fail for backend in backends):
                rng.choice(backends)._fail = None

    spoiling = asyncio.ensure_future(spoil())
    gate = asyncio.Semaphore(16)

    async def one(number: int) -> str:
        async with gate:
            for _ in range(5):  # all four may refuse one request
                try:
                    return (await role.ask(f"question {number}", sender="hub")).text
                except BackendError:
                    continue
        raise AssertionError

    texts = await asyncio.gather(*(one(number) for number in range(500)))
    spoiling.cancel()
    assert texts == [f"question {number}" for number in range(500)]
    assert {load.in_flight for load in role.loads.values()} == {0}


def test_balance() -> None:
    balance = Balance(lambda _: False)
    from aiflow.agents.replicas.balance import Load

    balance.loads.update(a=Load(), b=Load())
    balance.answered("a", 1.0)
    balance.answered("b", 3.0)
    assert balance.choose(0.0) == "a"
    for _ in range(3):
        balance.began("a")
    assert balance.choose(0.0) == "b"
    balance.failed("b", 0.0)
    assert balance.choose(0.1) == "a"
    assert balance.choose(0.1, without={"a"}) is None
    assert balance.wakes({"a"}) == 0.5
    assert balance.choose(0.6, without={"a"}) == "b"
    balance.began("b")  # on trial
    assert balance.choose(0.7, without={"a"}) is None
    for moment in (0.6, 0.7, 2.0):  # one failure while it rests counts once
        balance.failed("b", moment)
    assert balance.loads["b"].failures == 3
    assert balance.wakes({"a"}) == 4.0
    assert (balance.rested(3.9), balance.rested(4.0)) == ([], ["b"])
    balance.back("b")
    assert balance.choose(4.0, without={"a"}) == "b"
    balance.failed("b", 4.0)  # and it was not well after all: a longer rest
    assert balance.wakes({"a"}) == 8.0
    balance.answered("b", 1.0)
    assert (balance.loads["b"].failures, balance.loads["b"].well) == (0, True)


async def test_a_node_that_comes_later_gets_its_replica(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiflow.agents.replicas.role.LOOK", 0.0)
    place, there = Deployment.agent, {"phone"}

    def agent(self: Deployment, name: str, *, node: str, **how: Any) -> Any:
        if node not in there:
            raise PlacementError(f"no Ray node offers {node!r}")
        return place(self, name, node=node, **how)

    monkeypatch.setattr(Deployment, "agent", agent)
    role = here.role("echo", nodes="device", model="scripted:echo")
    assert list(role.replicas) == ["echo@phone"]
    assert (await role.ask("well")).text == "well"
    there.add("laptop")
    async with asyncio.timeout(10):
        while "echo@laptop" not in role.replicas:
            assert (await role.ask("well")).text == "well"
            await asyncio.sleep(0.01)
    with pytest.raises(PlacementError, match="'hub'"):
        here.role("other", nodes=["hub"], model="scripted:echo")
    assert list(here.roles) == ["echo"]
