"""SIGKILLs agents' processes in the middle of requests: every question must end in time, with an answer or one error.

Seeded: who is killed (one device, two devices, the server) and when. Agents take real time in real processes; Ray
starts the killed ones anew before the next question.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from typing import Any

from aiflow import aio
from aiflow.agents.agent import Agent
from aiflow.agents.host import RayHost
from aiflow.bench.system import scripted
from aiflow.errors import AgentError

DEADLINE = 2.0
GRACE = 1.0
DELAY = 0.1  # every agent's thinking time; an undisturbed question takes four of it
VICTIMS = ("one device", "two devices", "server")


def main(*, repeats: int = 100, seed: int = 0, json: bool = False) -> None:
    """Prints, per kind of victim, how the questions ended and the longest time one took."""
    with scripted.open_star(3) as cluster:
        devices = scripted.agents(cluster, [DELAY] * 3)
        server = cluster.agent("server", node="cloud", model="scripted:d0, d1", delay=DELAY)
        cluster.ready_sync()
        outcomes = aio.run(_repeat(server, devices, repeats, random.Random(seed)))
    rows = _summary(outcomes)
    late = sum(outcome["seconds"] > DEADLINE + GRACE for outcome in outcomes)
    print(f"{repeats} questions, a SIGKILL in each, deadline {DEADLINE:g} s")
    for victim, row in rows.items():
        print(f"  {victim:<12} {row['ended']}  slowest {row['max_s']:.2f} s")
    print(f"ended after the deadline + {GRACE:g} s: {late}; hung: {sum(o['ended'] == 'hung' for o in outcomes)}")
    scripted.finish({"repeats": repeats, "seed": seed, "deadline_s": DEADLINE, "late": late, "victims": rows}, json)


async def _repeat(server: Agent, devices: list[Agent], repeats: int, rng: random.Random) -> list[dict[str, Any]]:
    from aiflow.graphs import device_server

    graph = device_server(server=server, devices=devices, select=2, deadline=DEADLINE)
    outcomes = []
    for number in range(repeats):
        pids = {agent.name: await _pid(agent) for agent in (server, *devices)}
        victim = VICTIMS[number % len(VICTIMS)]
        # d0 and d1 are the selected ones, so that a request of theirs is in flight.
        names = {"one device": [rng.choice("01")], "two devices": ["0", "1"]}.get(victim)
        doomed = [pids[f"d{name}"] for name in names] if names else [pids["server"]]
        outcome = await _one(graph, number, doomed, after=rng.uniform(0, 4 * DELAY))
        outcomes.append({"victim": victim, **outcome})
    return outcomes


async def _pid(agent: Agent) -> int:
    await agent.ready()
    assert isinstance(agent.host, RayHost)
    pid: int = await agent.host.actor.pid.remote()
    return pid


async def _one(graph: Any, number: int, doomed: list[int], *, after: float) -> dict[str, Any]:
    start = time.perf_counter()
    asking = asyncio.ensure_future(graph.ainvoke({"messages": [("user", f"question {number}")]}))
    await asyncio.sleep(after)
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    done, _ = await asyncio.wait({asking}, timeout=20 * DEADLINE)
    seconds = time.perf_counter() - start
    if not done:
        asking.cancel()
        return {"ended": "hung", "seconds": seconds}
    error = asking.exception()
    if error is None:
        failed = any(not step["ok"] for step in asking.result()["trace"])
        return {"ended": "answered, failure marked" if failed else "answered", "seconds": seconds}
    if not isinstance(error, AgentError):
        raise error
    return {"ended": f"error {type(error).__name__}", "seconds": seconds}


def _summary(outcomes: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome["victim"]].append(outcome)
    return {
        victim: {"ended": dict(Counter(o["ended"] for o in group)), "max_s": max(o["seconds"] for o in group)}
        for victim, group in groups.items()
    }
