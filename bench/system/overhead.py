"""What the graph adds to the critical path of its agents, beside a plain asyncio + Ray loop that makes the same calls.

Scripted agents wait fixed times, so the critical path is known: select, the slowest device, merge, the slowest device
again for the revision. Both ways run alternately in one process on one Ray cluster.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiflow import aio
from aiflow.agents import wire
from aiflow.agents.agent import Agent
from aiflow.agents.host import RayHost
from aiflow.bench.system import scripted
from aiflow.errors import UsageError
from aiflow.types import Options, conversation

SERVER_DELAY = 0.05
QUESTION = "What is measured here?"
Once = Callable[[], Awaitable[Any]]
CASES = {
    5: ("five", [0.06, 0.08, 0.10, 0.12, 0.14], "median overhead <= 15 ms"),
    50: ("fifty", [0.1] * 50, "median ratio <= 1.20"),
}


def main(*, repeats: int = 30, devices: Sequence[int] = (5, 50), json: bool = False) -> None:
    """Prints, for each number of devices, the time beyond the critical path with and without the graph."""
    results = {}
    for count in devices:
        if count not in CASES:
            raise UsageError(f"devices={count} is not measured; use {' or '.join(map(str, CASES))}.")
        name, delays, bar = CASES[count]
        case = results[name] = _case(delays, repeats)
        print(f"{count} devices, critical path {case['critical_s'] * 1000:.0f} ms  (bar: {bar})")
        for way in ("graph", "plain"):
            row = case[way]
            print(
                f"  {way:<6} median {row['median_s'] * 1000:7.1f} ms  overhead {row['overhead_ms']:6.1f} ms"
                f"  ratio {row['ratio']:.3f}  (worst {row['max_s'] * 1000:.1f} ms)"
            )
    scripted.finish({"repeats": repeats, **results}, json)


def _case(delays: Sequence[float], repeats: int) -> dict[str, Any]:
    count = len(delays)
    with scripted.open_star(count + 1) as cluster:
        # One device more than is selected, so that the server is really asked; it names the others.
        devices = scripted.agents(cluster, [*delays, 0.0])
        names = ", ".join(agent.name for agent in devices[:-1])
        server = cluster.agent("server", node="cloud", model="scripted:", answers=names, delay=SERVER_DELAY)
        cluster.ready_sync()
        ways = {"graph": _graph(server, devices), "plain": _plain(server, devices[:-1])}
        times = aio.run(_alternate(ways, repeats))
    critical = 2 * SERVER_DELAY + 2 * max(delays)
    return {"devices": count, "critical_s": critical, **{way: _row(t, critical) for way, t in times.items()}}


def _graph(server: Agent, devices: Sequence[Agent]) -> Once:
    from aiflow.graphs import device_server

    graph = device_server(server=server, devices=devices, select=len(devices) - 1, revise="selected")
    return lambda: graph.ainvoke({"messages": [("user", QUESTION)]})


def _plain(server: Agent, devices: Sequence[Agent]) -> Once:
    """The same calls of the same actors, as bare as Ray allows: no graph, no links, no deadline, nothing decoded."""

    def ask(agent: Agent) -> Awaitable[bytes]:
        assert isinstance(agent.host, RayHost)
        answer: Awaitable[bytes] = agent.host.actor.ask.remote(payload)
        return answer

    payload = wire.encode_ask("0" * 16, conversation(QUESTION), Options())

    async def once() -> None:
        await ask(server)
        await asyncio.gather(*map(ask, devices))
        await ask(server)
        await asyncio.gather(*map(ask, devices))

    return once


async def _alternate(ways: dict[str, Once], repeats: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeats + 2):
        for way, once in ways.items():
            start = time.perf_counter()
            await once()
            if turn >= 2:  # the first two warm up
                times[way].append(time.perf_counter() - start)
    return times


def _row(seconds: list[float], critical: float) -> dict[str, float]:
    median = statistics.median(seconds)
    return {
        "median_s": median,
        "max_s": max(seconds),
        "overhead_ms": (median - critical) * 1000,
        "ratio": median / critical,
    }
