"""A stage's process is killed with SIGKILL in the middle of an answer: seconds until the next token, on the wall clock.

Three processes hold the blocks of one model, two of which suffice. The gap is what a reader sees between two pieces of
text; of it, `Recovery.seconds` begins where the death was noticed.
"""

import asyncio
import os
import signal
import time
from typing import Any

from aiflow.agents.deployment import connect
from aiflow.agents.host import RayHost
from aiflow.agents.partition import Partitioned, partitioned
from aiflow.agents.partition.events import Staged
from aiflow.bench.partition import teams
from aiflow.types import Delta, Options

MODEL = "aiflow:nano/family"
QUESTION = "Trace this program:\ns = 11\nb = s + 4\nprint(b)"
LENGTH = Options(max_tokens=32)
KILL_AT = 6
DEADLINE = 120.0


def run(kills: int) -> dict[str, Any]:
    """Seconds of each kill, and of an undisturbed token."""
    return asyncio.run(_run(kills))


async def _run(kills: int) -> dict[str, Any]:
    memory = teams.least(teams.sizes(MODEL), 2)
    nodes = {f"n{i}": {"tier": "device", "memory": memory} for i in range(3)}
    links = [{"between": ["device", "device"], "rate": 1e6, "rtt": 0.01}]
    cluster = connect({"nodes": nodes, "links": links}, raylets="single")
    try:
        team = [cluster.agent(node, node=node, model=f"blocks:{MODEL}") for node in nodes]
        row = partitioned(team, tokens=teams.TOKENS, sessions=teams.SESSIONS, patience=20.0)
        await asyncio.gather(*(agent.ready() for agent in team))
        await row.ready()
        await row.ask(QUESTION, options=LENGTH, deadline=DEADLINE)
        wanted, calm = await _timed(row, None)
        found = []
        for kill in range(kills):
            for agent in team:
                await agent.ready(DEADLINE)  # whoever was killed before is back
            answer, gap = await _timed(row, kill % 2)
            assert answer.recoveries
            found.append(
                {
                    "stage": kill % 2,
                    "gap_s": gap,
                    "recovery_s": sum(recovery.seconds for recovery in answer.recoveries),
                    "same_text": answer.text == wanted.text,
                }
            )
        return {"calm_gap_s": calm, "kills": found, "wrong": sum(not one["same_text"] for one in found)}
    finally:
        await cluster.aclose()


async def _timed(row: Partitioned, victim: int | None) -> tuple[Staged, float]:
    """An answer, and the longest time between two pieces of it."""
    pids = []
    for agent, _ in row.pool.row if victim is not None else []:
        assert isinstance(agent.host, RayHost)
        pids.append(await agent.host.actor.pid.remote())
    pieces, longest, last = 0, 0.0, time.monotonic()
    async for item in row.stream(QUESTION, options=LENGTH, deadline=DEADLINE):
        now = time.monotonic()
        longest, last = max(longest, now - last if pieces else 0.0), now
        pieces += isinstance(item, Delta)
        if victim is not None and pids and pieces == KILL_AT:
            os.kill(pids[victim], signal.SIGKILL)
            pids = []
    assert isinstance(item, Staged)
    return item, longest
