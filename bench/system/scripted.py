"""Clusters of scripted agents for measurements: a server and any number of devices, on links that cost nothing."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment, connect


def star(devices: int) -> dict[str, Any]:
    """A topology of ``devices`` device nodes around one cloud node."""
    nodes = {"cloud": "cloud"} | {f"node{n}": "device" for n in range(devices)}
    return {"nodes": nodes, "links": [{"between": ["device", "cloud"], "rate": "100 GB/s"}]}


def agents(cluster: Deployment, delays: Sequence[float], answer: str = "echo") -> list[Agent]:
    """One scripted agent per node, named d0, d1, ..., which waits ``delays`` seconds before it answers."""
    return [
        cluster.agent(f"d{n}", node=f"node{n}", model="scripted:", answers=answer, delay=delay, about=f"topic{n}")
        for n, delay in enumerate(delays)
    ]


def open_star(devices: int) -> Deployment:
    """Connects to a star without emulated links: what is measured is the system's own time."""
    return connect(star(devices), emulate=False)


def finish(result: dict[str, Any], json_wanted: bool) -> None:
    """Ends a measurement's output: one JSON object as the last line if wanted."""
    if json_wanted:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(result), flush=True)
