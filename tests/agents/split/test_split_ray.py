"""Split inference between processes; a server killed with SIGKILL in the middle of an answer."""

import asyncio
import os
import signal
from typing import Any

from aiflow.agents.deployment import Deployment
from aiflow.agents.host import RayHost
from aiflow.agents.split.events import Final, Split
from aiflow.cluster import Network

QUESTION = "What is 17 + 25?"


async def test_processes(runtime: Any) -> None:
    cluster = Deployment(Network(runtime.topology), runtime)
    phone, cloud = (cluster.topology.on(tier)[0] for tier in ("device", "cloud"))
    device = cluster.agent("device", node=phone, model="aiflow:nano/family#2")
    server = cluster.agent("server", node=cloud, model="aiflow:nano/family")
    await asyncio.gather(device.ready(), server.ready())
    whole = await server.ask(QUESTION, sender=phone)
    found = await device.split_infer(QUESTION, server=server, deadline=60)
    assert (found.text, found.outages) == (whole.text, 0)
    assert isinstance(server.host, RayHost)
    victim: int = await server.host.actor.pid.remote()
    pieces = 0
    async for event in device.split_stream(QUESTION, server=server, ahead=1, silence=0.2, deadline=120):
        pieces += isinstance(event, Final)
        if pieces == 2 and victim:
            os.kill(victim, signal.SIGKILL)
            victim = 0
    assert isinstance(event, Split)
    assert (event.text, event.judged) == (whole.text, True)
    assert event.outages >= 1
    assert not victim
    for agent in (device, server):
        await agent.close()
