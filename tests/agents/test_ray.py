"""Agents in Ray actors: many at once, in order, cancelled, killed with SIGKILL, and back again."""

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from aiflow.agents.actor import ACTOR_OPTIONS, ModelActor
from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment
from aiflow.agents.host import RayHost
from aiflow.cluster import Network
from aiflow.errors import AgentDiedError, BackendError, DeadlineError, InputError, TopologyError, UnknownModelError
from aiflow.types import Answer

QUERIES = 2000
IN_FLIGHT = 64


@pytest.fixture(scope="module")
def cluster(runtime: Any) -> Deployment:
    return Deployment(Network(runtime.topology, emulate=False), runtime)


@pytest.fixture(scope="module")
def phone(cluster: Deployment) -> str:
    return cluster.topology.on("device")[0]


@pytest.fixture(scope="module")
def echo(cluster: Deployment) -> Agent:
    return cluster.agent("echo", node=cluster.topology.on("cloud")[0], model="scripted:echo")


@pytest.fixture(scope="module")
def sick(cluster: Deployment, phone: str) -> Agent:
    return cluster.agent("sick", node=phone, model="scripted:echo", fail="babble", fail_on="endless")


async def _last(agent: Agent, question: str, **arguments: Any) -> Answer:
    items = [item async for item in agent.stream(question, **arguments)]
    assert isinstance(items[-1], Answer)
    assert "".join(item.text for item in items[:-1]) == items[-1].text
    return items[-1]


async def _cancelled(agent: Agent, count: int) -> None:
    async with asyncio.timeout(5):
        while (await agent.totals()).cancelled < count:
            await asyncio.sleep(0.01)


async def test_many_queries_in_flight(cluster: Deployment, echo: Agent, phone: str) -> None:
    before, gate = await echo.totals(), asyncio.Semaphore(IN_FLIGHT)
    crossed = cluster.network.totals()

    async def one(number: int) -> Answer:
        async with gate:
            return await echo.ask(f"question {number}", sender=phone)

    answers = await asyncio.gather(*map(one, range(QUERIES)))
    assert [answer.text for answer in answers] == [f"question {number}" for number in range(QUERIES)]
    after = await echo.totals()
    assert (after.answered - before.answered, after.errors, after.in_flight) == (QUERIES, 0, 0)
    assert after.usage.completion_tokens - before.usage.completion_tokens == 2 * QUERIES
    for link, total in cluster.network.totals().items():
        assert total - crossed[link] == sum(answer.bytes.get(link, 0) for answer in answers)


async def test_streams_side_by_side(cluster: Deployment, echo: Agent, phone: str) -> None:
    crossed = cluster.network.totals()
    texts = [" ".join(f"{number}.{word}" for word in range(40)) for number in range(16)]
    answers = await asyncio.gather(*(_last(echo, text, sender=phone) for text in texts))
    assert [answer.text for answer in answers] == texts
    for link, total in cluster.network.totals().items():
        assert total - crossed[link] == sum(answer.bytes.get(link, 0) for answer in answers)


@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_and_deadlines_end_the_generation(sick: Agent, stream: bool) -> None:
    ask = _last if stream else Agent.ask
    before = (await sick.totals()).cancelled
    with pytest.raises(DeadlineError):
        await ask(sick, "endless", deadline=0.1)
    task = asyncio.create_task(ask(sick, "endless"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _cancelled(sick, before + 2)
    assert (await sick.totals()).in_flight == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_killed_process(sick: Agent, echo: Agent, phone: str, stream: bool) -> None:
    await sick.ask("warm up")
    assert isinstance(sick.host, RayHost)
    victim: int = await sick.host.actor.pid.remote()
    ask = _last if stream else Agent.ask
    tasks = [asyncio.create_task(ask(sick, "endless", sender=phone, deadline=20)) for _ in range(3)]
    await asyncio.sleep(0.2)
    started = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [AgentDiedError] * 3
    assert {result.agent for result in results if isinstance(result, AgentDiedError)} == {"sick"}
    assert time.monotonic() - started < 8
    assert (await echo.ask("still there")).text == "still there"
    assert (await sick.ask("back again", deadline=20)).text == "back again"
    assert await sick.host.actor.pid.remote() != victim


async def test_an_agent_that_was_closed(cluster: Deployment, phone: str) -> None:
    agent = cluster.agent("gone", node=phone, model="scripted:echo")
    await agent.ask("Hi")
    await agent.close()
    with pytest.raises(AgentDiedError):
        await agent.ask("Hi", deadline=5)


async def test_failed_loading_is_told_to_everyone(runtime: Any, phone: str, cluster: Deployment) -> None:
    actor = runtime.place(ModelActor, phone, "scripted:", {"fail": "nonsense"}, **ACTOR_OPTIONS)
    agent = Agent("broken", RayHost(actor), cluster.network, node=phone)
    for wait in (agent.ready, lambda: agent.ask("Hi"), lambda: _last(agent, "Hi")):
        with pytest.raises(InputError, match="fail='nonsense' is not usable"):
            await wait()
    await agent.close()


async def test_errors_cross_processes(cluster: Deployment, phone: str) -> None:
    agent = cluster.agent("moody", node=phone, model="scripted:", answers={"a": "b"}, fail="garbage", fail_on="junk")
    with pytest.raises(BackendError, match="no answer to 'x'"):
        await agent.ask("x")
    with pytest.raises(BackendError, match="bytes instead of text"):
        await _last(agent, "junk")
    assert (await agent.ask("a")).text == "b"
    totals = await agent.totals()
    assert (totals.asked, totals.answered, totals.errors) == (3, 1, 2)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"node": "fridge"}, TopologyError),
        ({"model": "./nowhere"}, UnknownModelError),
        ({"dely": 1}, InputError),
    ],
)
def test_mistakes_are_found_before_a_process_starts(
    cluster: Deployment, phone: str, change: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        cluster.agent(**{"name": "wrong", "node": phone, "model": "scripted:", **change})
    assert "wrong" not in cluster.agents
