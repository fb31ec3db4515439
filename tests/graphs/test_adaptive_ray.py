"""The planning graph on a real Ray cluster, while the process of its server is killed and comes back."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from aiflow.agents.deployment import Deployment
from aiflow.cluster import Network, Runtime
from aiflow.cluster.profiles import Profiles
from aiflow.graphs.workflows.adaptive import adaptive
from aiflow.graphs.workflows.planner import Planner

QUESTION = {"messages": [("user", "Where is the key?")]}
KNOWN = Profiles(
    agents=[
        {"agent": "phone", "node": "phone", "prefill": 1e5, "decode": 0.5, "flops": 1e9, "capacity": 1.0},
        {"agent": "hub", "node": "cloud", "prefill": 1e5, "decode": 0.1, "flops": 1e10, "capacity": 1.0},
    ]
)


@pytest.fixture(scope="module")
def home(runtime: Runtime) -> Iterator[Deployment]:
    """A phone and a server on Ray; links that take no time of their own."""
    # Its own share of the cluster: closing the tests' runtime would end it for the files that follow.
    home = Deployment(Network(runtime.topology, emulate=False), Runtime.start(runtime.topology))
    home.agent("phone", node="phone", model="scripted:from the phone", token_delay=0.5)
    home.agent("hub", node="cloud", model="scripted:from the hub", token_delay=0.1)
    home.ready_sync()
    yield home
    home.close()


async def test_a_killed_server_costs_no_answer_and_is_used_again(home: Deployment) -> None:
    planner = Planner(KNOWN, home.topology)
    flow: Any = adaptive(planner, home["phone"], [home["hub"]], quality="fast", output_tokens=40)
    assert (await flow.ainvoke(QUESTION))["messages"][-1].content == "from the hub"
    assert planner.heard("edge-cloud", False) > 0  # a real link is learned from what answers took

    asking = asyncio.ensure_future(flow.ainvoke(QUESTION))
    await asyncio.sleep(0.05)
    os.kill(await home["hub"].host.actor.pid.remote(), signal.SIGKILL)  # type: ignore[attr-defined]
    state = await asyncio.wait_for(asking, 30)
    assert state["messages"][-1].content in ("from the phone", "from the hub")

    await asyncio.wait_for(home["hub"].ready(), 60)
    async with asyncio.timeout(60):
        while (await flow.ainvoke(QUESTION))["messages"][-1].content != "from the hub":
            await asyncio.sleep(0.3)  # until a look has found it
