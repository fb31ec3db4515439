"""Collaborative decoding between processes: two and three tiers, a judge killed with SIGKILL, a cancelled call."""

import asyncio
import os
import signal
from typing import Any

import pytest
import speakers
from speakers import LONG, QUESTION, watched

from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment
from aiflow.agents.host import RayHost
from aiflow.cluster import Network


async def _no_sessions(*agents: Agent) -> None:
    async with asyncio.timeout(10):
        for agent in agents:
            assert isinstance(agent.host, RayHost)
            while await agent.host.actor.sessions.remote():
                await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_processes(runtime: Any, tmp_path: Any) -> None:
    folders = speakers.folders(tmp_path)
    cluster = Deployment(Network(runtime.topology), runtime)
    phone, box, cloud = (cluster.topology.on(tier)[0] for tier in ("device", "edge", "cloud"))
    small = cluster.agent("small", node=phone, model=folders["small"], options=LONG)
    mid = cluster.agent("mid", node=box, model=folders["mid"], options=LONG)
    big = cluster.agent("big", node=cloud, model=folders["big"], options=LONG)
    await asyncio.gather(small.ready(), mid.ready(), big.ready())
    whole = await big.ask(QUESTION, sender=phone)
    assert isinstance(big.host, RayHost)
    for judges in ([big], [mid, big]):
        found = await small.speculative_decode(QUESTION, judges=judges, deadline=30)
        assert (found.text, found.rebuilt) == (whole.text, 0)
        assert found.bytes[cluster.network.route(phone, box)[0]] > 200
    victim: int = await big.host.actor.pid.remote()
    stream = small.speculative_stream(QUESTION, judges=[big], deadline=60)
    found = await watched(stream, {10: lambda: os.kill(victim, signal.SIGKILL)})
    assert (found.text, found.rebuilt) == (whole.text, 1)
    task = asyncio.create_task(small.speculative_decode(QUESTION, judges=[mid, big]))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _no_sessions(small, mid, big)
    for agent in (small, mid, big):
        await agent.close()
