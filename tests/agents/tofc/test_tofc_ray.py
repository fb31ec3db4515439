"""Answers on compressed images between processes: the same text, bytes on the links, a server killed with SIGKILL."""

import asyncio
import os
import signal
from typing import Any

import lookers
import pytest
from lookers import QUESTION

from aiflow.agents.deployment import Deployment
from aiflow.agents.host import RayHost
from aiflow.cluster import Network
from aiflow.errors import AgentDiedError


@pytest.mark.slow
async def test_processes(runtime: Any, seeing: str) -> None:
    cluster = Deployment(Network(runtime.topology), runtime)
    phone_node, cloud_node = (cluster.topology.on(tier)[0] for tier in ("device", "cloud"))
    options = {"max_tokens": 12}
    phone = cluster.agent("seeing", node=phone_node, model=seeing + "#2", options=options)
    cloud = cluster.agent("telling", node=cloud_node, model=seeing, options=options)
    await asyncio.gather(phone.ready(), cloud.ready())

    local = Deployment(Network(runtime.topology, emulate=False))
    own = local.agent("seeing", node=phone_node, model=seeing + "#2", options=options)
    other = local.agent("telling", node=cloud_node, model=seeing, options=options)
    expected = await own.tofc_answer(lookers.picture(), QUESTION, server=other)

    found = await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud, deadline=30)
    assert (found.text, found.nbytes, found.tokens) == (expected.text, expected.nbytes, 16)
    assert set(found.bytes) == set(cluster.network.route(phone_node, cloud_node))
    assert all(n > found.nbytes for n in found.bytes.values())
    assert min(found.device_seconds, found.link_seconds, found.server_seconds) > 0
    assert found.device_seconds + found.link_seconds + found.server_seconds == pytest.approx(found.seconds, abs=0.05)
    several = await asyncio.gather(
        *(phone.tofc_answer(lookers.picture(), QUESTION, server=cloud, tokens=2) for _ in range(8))
    )
    assert len({answer.text for answer in several}) == 1

    assert isinstance(cloud.host, RayHost)
    victim: int = await cloud.host.actor.pid.remote()
    long = {"max_tokens": 230}
    asked = [
        asyncio.create_task(phone.tofc_answer(lookers.picture(), "bb", server=cloud, options=long)) for _ in range(20)
    ]
    await asyncio.sleep(0.3)
    os.kill(victim, signal.SIGKILL)
    results = await asyncio.gather(*asked, return_exceptions=True)
    died = [result for result in results if isinstance(result, BaseException)]
    assert died
    assert {(type(error), getattr(error, "agent", "")) for error in died} == {(AgentDiedError, "telling")}
    again = await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud)
    assert again.text == expected.text
    await local.aclose()
    for agent in (phone, cloud):
        await agent.close()
