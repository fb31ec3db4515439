"""What the demos of the diffusion systems share: the cluster, a line of progress, the table of nodes, the JSON line."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow import aio
from aiflow.agents.home import home_topology
from aiflow.units import show_bytes

if TYPE_CHECKING:
    from aiflow.agents.deployment import Deployment

READY_SECONDS = 180.0
"""How long models may take to load."""


@contextmanager
def stage(topology: str, placed: Mapping[str, tuple[str, str]], *, local: bool) -> Iterator["Deployment"]:
    """A cluster with an agent for each of ``placed``: name -> (node, model string), all loaded."""
    from aiflow.agents.deployment import connect

    with connect(home_topology() if topology == "home" else topology, local=local) as cluster:
        for name, (node, model) in placed.items():
            cluster.agent(name, node=_node(cluster, node), model=model)
        say(f"loading {', '.join(f'{name} on {agent.node}' for name, agent in cluster.agents.items())}")
        cluster.ready_sync()
        yield cluster


def run(graph: Any, state: Mapping[str, Any], cluster: "Deployment", context: Any = None) -> tuple[dict[str, Any], Any]:
    """Runs a graph, showing each denoising step; its last state and the result."""
    return aio.run(_run(graph, state, cluster, context))


def fetch(state: Mapping[str, Any], cluster: "Deployment") -> Any:
    """The result that a state holds."""
    from aiflow.graphs import fetch

    return aio.run(fetch(state, cluster))


async def _run(graph: Any, state: Mapping[str, Any], cluster: "Deployment", context: Any) -> tuple[dict[str, Any], Any]:
    from aiflow.graphs import fetch

    last: dict[str, Any] = {}
    async for mode, event in graph.astream(dict(state), context=context, stream_mode=["custom", "values"]):
        if mode == "values":
            last = event
        elif "step" in event:
            of = f" of {event['steps']}" if "steps" in event else ""
            say(f"{event.get('agent', '')} on {event.get('node', '')}: step {event['step']}{of}", over=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return last, await fetch(last, cluster)


def finish(state: Mapping[str, Any], path: Path, began: float, *, as_json: bool, **facts: Any) -> None:
    """Says what the nodes did, what went wrong, and where the picture is; with ``as_json`` also as a JSON line."""
    trace = state["trace"]
    print(f"{'node':<10} {'agents':<24} {'calls':>5} {'seconds':>9} {'sent':>10} {'received':>10}")
    nodes = nodes_of(trace)
    for name, node in nodes.items():
        sent, received = show_bytes(node["sent"]), show_bytes(node["received"])
        agents = ", ".join(node["agents"])
        print(f"{name:<10} {agents:<24} {node['calls']:>5} {node['seconds']:>9.3f} {sent:>10} {received:>10}")
    for mark in state.get("marks", []):
        print(f"! {mark}")
    seconds = time.monotonic() - began
    crossed = f"{trace['messages']} messages, {show_bytes(trace['bytes'])} over the links"
    print(f"{crossed}, {trace['link_seconds']:.3f} s on the way, {seconds:.1f} s in all")
    print(path)
    if as_json:
        said = {"picture": str(path), "seconds": seconds, "nodes": nodes, "marks": state.get("marks", []), **facts}
        print(json.dumps(said | {name: trace[name] for name in ("messages", "bytes", "links", "link_seconds")}))


def nodes_of(trace: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each node: its agents, calls and seconds of computing, and the bytes of messages that left and reached it."""
    nodes: dict[str, dict[str, Any]] = {
        name: {"agents": node["agents"], "calls": node["calls"], "seconds": node["seconds"], "sent": 0, "received": 0}
        for name, node in trace["nodes"].items()
    }
    for flow in trace["flows"]:
        if flow["from"] != flow["to"]:
            for end, way in ((flow["from"], "sent"), (flow["to"], "received")):
                if end in nodes:
                    nodes[end][way] += flow["bytes"]
    return nodes


def say(text: str, *, over: bool = False) -> None:
    """A line of progress on stderr; ``over``: in place of the last one, on a terminal."""
    tty = sys.stderr.isatty()
    print(f"\r\x1b[K{text}" if over and tty else text, end="" if over and tty else "\n", file=sys.stderr, flush=True)


def _node(cluster: "Deployment", wanted: str) -> str:
    """The node of that name; in another topology than the home one, any node of the tier that it would be on."""
    nodes = cluster.topology.nodes
    if wanted in nodes:
        return wanted
    tier = wanted if wanted in ("edge", "cloud") else "device"
    return next((name for name, node in nodes.items() if node.tier == tier), next(iter(nodes)))
