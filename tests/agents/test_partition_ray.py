"""The blocks of one model in several processes; one of them killed with SIGKILL in the middle of an answer."""

import asyncio
import os
import signal
from typing import Any

import pytest

from aiflow.agents.deployment import Deployment
from aiflow.agents.host import RayHost
from aiflow.agents.partition import partitioned
from aiflow.agents.partition.events import Staged
from aiflow.cluster import Network
from aiflow.types import Delta

MODEL = "aiflow:nano/math"
QUESTION = "What is 17 + 25?"


@pytest.mark.slow
async def test_processes(runtime: Any) -> None:
    cluster = Deployment(Network(runtime.topology), runtime)
    nodes = [*cluster.topology.on("device")[:2], cluster.topology.on("edge")[0]]
    team = [
        cluster.agent(f"part{i}", node=node, model=f"blocks:{MODEL}", memory="12 MB") for i, node in enumerate(nodes)
    ]
    whole = cluster.agent("whole", node=nodes[-1], model=MODEL)
    row = partitioned(team, tokens=128, sessions=1, patience=20.0, node=nodes[0])
    await asyncio.gather(whole.ready(), *(agent.ready() for agent in team))
    wanted = await whole.ask(QUESTION)
    first = await row.ask(QUESTION, deadline=60.0)
    assert (first.text, first.epochs, len(first.stages)) == (wanted.text, 1, 2)
    assert all(stage.held < 0.6 * 20e6 for stage in first.stages)
    host = cluster[first.stages[1].agent].host
    assert isinstance(host, RayHost)
    victim: int = await host.actor.pid.remote()
    said = 0
    async for item in row.stream(QUESTION, deadline=100.0):
        said += isinstance(item, Delta)
        if said == 3 and victim:
            os.kill(victim, signal.SIGKILL)
            victim = 0
    assert isinstance(item, Staged)
    assert (item.text, item.epochs) == (wanted.text, 2)
    assert [recovery.agent for recovery in item.recoveries] == [first.stages[1].agent]
    assert len({stage.agent for stage in (*first.stages, *item.stages)}) == 3
    for agent in (whole, *team):
        await agent.close()
