"""Opens who takes part: models alone, the devices and server of a graph, the judge. All of them remember (AskCache)."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiflow.agents.interface import Asks
from aiflow.bench.budget import Budget
from aiflow.bench.cache import AskCache
from aiflow.bench.judges.judge import Judge
from aiflow.bench.live import Live
from aiflow.bench.requests import RequestLog
from aiflow.errors import UsageError

if TYPE_CHECKING:
    from aiflow.agents.deployment import Deployment

SERVER, JUDGE, HUB = "server", "judge", "hub"
MERGED, SELF_MOA, GRAPH = "merged", "Self-MoA", "graph"
"""What collaborations are called in the results; no agent may be."""
_NAMED = re.compile(r"([A-Za-z][\w. -]*)=(.+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Team:
    """The agents alone (also the devices of a server's graph), the server, an opened graph, the judge."""

    devices: tuple[Asks, ...] = ()
    server: Asks | None = None
    graph: Any = None
    judge: Judge | None = None


@asynccontextmanager
async def opened(live: Live, requests: RequestLog) -> AsyncIterator[Team]:
    """Everybody, loaded and ready, as long as the block lasts. Raises what opening a model raises."""
    from aiflow import connect
    from aiflow.agents.home import HOME, home_topology
    from aiflow.graphs.opening import check, open_graph

    if live.graph:
        check(live.graph)
    specs = dict(named(live.models))
    unknown = sorted(set(live.abouts) - set(specs))
    if unknown:
        raise UsageError(f"--about names {unknown[0]!r}, which is none of the models {', '.join(specs)}.")
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(connect(star(specs), local=True, emulate=False))
        mine = Remembering(here, requests, live.budget, reuse=live.reuse)
        devices = [
            mine.agent(name, node=node_of(name), model=model, about=live.abouts.get(name, name))
            for name, model in specs.items()
        ]
        server = mine.agent(SERVER, node=HUB, model=live.server) if live.server else None
        judge = (
            Judge(agent=mine.agent(JUDGE, node=HUB, model=live.judge), deadline=live.deadline) if live.judge else None
        )
        await here.ready()
        graph = None
        if live.graph:
            topology = home_topology() if live.topology == HOME else live.topology
            there = await stack.enter_async_context(connect(topology, local=live.local))
            graph = open_graph(live.graph, Remembering(there, requests, live.budget, prefix="graph/", reuse=live.reuse))  # type: ignore[arg-type]
            await there.ready()
        yield Team(devices=tuple(devices), server=server, graph=graph, judge=judge)


def named(models: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(name, model) of each ``NAME=MODEL``; a model without a name is called by the end of it. Raises UsageError."""
    seen: set[str] = set()
    for spec in models:
        match = _NAMED.fullmatch(spec)
        name, model = match.groups() if match else (re.split(r"[#/:]", spec.rstrip("/"))[-1].strip() or "model", spec)
        if name in seen or name in (SERVER, JUDGE, MERGED, SELF_MOA, GRAPH) or name.startswith(f"{MERGED} ("):
            raise UsageError(f"two agents would be called {name!r}; name them, e.g. --model second={model}.")
        seen.add(name)
        yield name, model


def node_of(name: str) -> str:
    """The node of an agent alone; what a node's name cannot hold is left out."""
    return f"node-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}"


def star(names: Any) -> dict[str, Any]:
    """A node for each device around a hub, from which the server asks; the judge is there too."""
    nodes = {HUB: "cloud"} | {node_of(name): "device" for name in names}
    return {"nodes": nodes, "links": [{"between": ["device", HUB], "rate": "100 GB/s"}] if names else []}


class Remembering:
    """A deployment whose new agents remember what they answered. Everything else is the deployment's."""

    def __init__(
        self, cluster: "Deployment", requests: RequestLog, budget: Budget, *, prefix: str = "", reuse: bool = True
    ) -> None:
        self._cluster, self._prefix = cluster, prefix
        self._how: dict[str, Any] = {"log": requests, "budget": budget, "serve": reuse}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def agent(self, name: str, **how: Any) -> AskCache:
        """Like ``Deployment.agent``."""
        agent = self._cluster.agent(name, **how)
        return AskCache(agent, kept_as=f"{self._prefix}{name}={how['model']}", **self._how)
