"""Many requests in flight: queries per second, p50, p99, and whether every query got its own answer.

Zero-delay agents repeat what they are asked, and every question carries a number of its own, so a lost or mixed-up
answer shows. Measured for one agent alone and for the whole four-step graph over three devices.
"""

import asyncio
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiflow import aio
from aiflow.agents.agent import Agent
from aiflow.bench.system import scripted

Ask = Callable[[int], Awaitable[bool]]  # asks query number n; whether its answer is its own
_NUMBER = re.compile(r"<(\d+)>")


def main(*, queries: int = 2000, in_flight: int = 64, json: bool = False) -> None:
    """Prints queries/s, p50, p99 and the number of wrong answers, for an agent and for a graph."""
    with scripted.open_star(3) as cluster:
        devices = scripted.agents(cluster, [0.0] * 3)
        server = cluster.agent("server", node="cloud", model="scripted:echo")
        cluster.ready_sync()
        ways = {"agent": _agent(devices[0]), "graph": _graph(server, devices)}
        results = {way: aio.run(_drive(ask, queries, in_flight)) for way, ask in ways.items()}
    print(f"{queries} queries, {in_flight} in flight, zero-delay agents")
    for way, row in results.items():
        print(
            f"  {way:<6} {row['queries_per_s']:7.0f} queries/s  p50 {row['p50_ms']:7.1f} ms"
            f"  p99 {row['p99_ms']:7.1f} ms  lost or mixed up: {row['wrong']}"
        )
    scripted.finish({"queries": queries, "in_flight": in_flight, **results}, json)


def _agent(agent: Agent) -> Ask:
    async def ask(number: int) -> bool:
        text = f"question <{number}>"
        return (await agent.ask(text, sender="cloud")).text == text

    return ask


def _graph(server: Agent, devices: list[Agent]) -> Ask:
    from aiflow.graphs import device_server

    graph = device_server(server=server, devices=devices, select="all", revise="selected")

    async def ask(number: int) -> bool:
        state = await graph.ainvoke({"messages": [("user", f"question <{number}>")]})
        texts = [state["merged"], *state["answers"].values(), *state["finals"].values()]
        complete = len(state["answers"]) == len(state["finals"]) == len(devices)
        return complete and all(set(_NUMBER.findall(text)) == {str(number)} for text in texts)

    return ask


async def _drive(ask: Ask, queries: int, in_flight: int) -> dict[str, Any]:
    gate, seconds = asyncio.Semaphore(in_flight), []

    async def one(number: int) -> bool:
        async with gate:
            start = time.perf_counter()
            right = await ask(number)
            seconds.append(time.perf_counter() - start)
            return right

    start = time.perf_counter()
    right = await asyncio.gather(*(one(n) for n in range(queries)))
    elapsed = time.perf_counter() - start
    cuts = statistics.quantiles(seconds, n=100)
    return {
        "queries_per_s": queries / elapsed,
        "p50_ms": cuts[49] * 1000,
        "p99_ms": cuts[98] * 1000,
        "answered": len(seconds),
        "wrong": queries - sum(right),
    }
