"""A role whose replicas are processes: one is killed with SIGKILL while it answers, and comes back."""

import asyncio
import os
import signal
from typing import Any

from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment
from aiflow.agents.host import RayHost
from aiflow.cluster import Network
from aiflow.types import Answer

WORDS = " ".join(f"word{number}" for number in range(30))


async def _kill(agent: Agent) -> None:
    assert isinstance(agent.host, RayHost)
    os.kill(await agent.host.actor.pid.remote(), signal.SIGKILL)


async def test_a_killed_replica(runtime: Any) -> None:
    cluster = Deployment(Network(runtime.topology, emulate=False), runtime)
    device, cloud = (cluster.topology.on(tier)[0] for tier in ("device", "cloud"))
    role = cluster.role("words", nodes=[device, cloud], model=f"scripted:{WORDS} {{question}}", token_delay=0.005)
    first, second = role.replicas.values()
    await asyncio.gather(first.ready(), second.ready())
    asking = [asyncio.ensure_future(role.ask(f"question {number}", deadline=60)) for number in range(40)]
    await asyncio.sleep(0.1)
    await _kill(first)
    answers = await asyncio.gather(*asking)
    assert [answer.text for answer in answers] == [f"{WORDS} question {number}" for number in range(40)]
    assert role.loads[first.name].failures > 0

    pieces, text = role.stream("in pieces", deadline=60), ""
    async for piece in pieces:
        if isinstance(piece, Answer):
            assert piece.text == text == f"{WORDS} in pieces"
            break
        if not text:
            await _kill(second)
        text += piece.text
    assert {load.in_flight for load in role.loads.values()} == {0}

    async with asyncio.timeout(60):  # both are back, and asked again
        while any(load.failures for load in role.loads.values()):
            await asyncio.gather(*(role.ask("again", deadline=60) for _ in range(4)))
    await role.close()
