"""What ``aiflow top`` sees of a Ray cluster from outside."""

import asyncio
import time

import pytest

from aiflow.agents.deployment import Deployment
from aiflow.cluster.network import Network
from aiflow.errors import ClusterError
from aiflow.top.ray import RayCluster


async def test_nodes_and_agents_of_a_cluster(runtime):
    import ray

    cluster = Deployment(Network(runtime.topology, emulate=False), runtime)
    agent = cluster.agent("seen", node="phone", model="scripted:one two three")
    source = RayCluster(ray.get_runtime_context().gcs_address, 0.2)
    try:
        await agent.ask("?", deadline=60)
        frame = await asyncio.to_thread(source.frame)
        end = time.monotonic() + 20
        while frame.agents["seen"].tokens is None and time.monotonic() < end:
            frame = await asyncio.to_thread(source.frame)
        row = frame.agents["seen"]
        assert (row.node, row.state, row.answered, row.tokens, row.in_flight) == ("phone", "up", 1, 3, 0)
        assert frame.nodes["phone"].tier == "device"
        assert frame.nodes["cloud"].state == "up"
        await agent.close()
        end = time.monotonic() + 20
        while frame.agents["seen"].state == "up" and time.monotonic() < end:
            frame = (await asyncio.to_thread(source.frame)).after(frame)
        assert frame.agents["seen"].state in ("dead", "gone")
    finally:
        source.close()


def test_a_cluster_that_is_not_there():
    source = RayCluster("127.0.0.1:9", 0.2)
    try:
        with pytest.raises(ClusterError, match="no Ray cluster answers"):
            source.frame()
    finally:
        source.close()
