"""Seconds and bytes per token over emulated links, and what one to four nodes hold: in simulated time.

The nodes take `teams.PACE`; each has just the memory with which that many suffice, so that all are needed.
"""

import asyncio
from typing import Any

from aiflow.agents.host import LocalHost
from aiflow.agents.partition import partitioned
from aiflow.agents.partition.events import Staged
from aiflow.bench.partition import teams
from aiflow.clock import VirtualClock
from aiflow.types import Delta, Options

MODEL = "aiflow:nano/family"
LINKS = {"1 MB/s, 10 ms": (1e6, 0.010), "10 MB/s, 2 ms": (10e6, 0.002)}
QUESTION = "Trace this program:\ns = 11\nb = s + 4\nprint(b)"
LENGTH = Options(max_tokens=32)


def run(counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """A row for each number of nodes and link."""
    return [_row(count, name) for name in LINKS for count in counts]


def _row(count: int, link: str) -> dict[str, Any]:
    known = teams.sizes(MODEL)
    memory, clock = teams.least(known, count), VirtualClock()
    rate, rtt = LINKS[link]
    _, agents = teams.team(MODEL, count, clock, rate=rate, rtt=rtt, memory=memory)
    row = partitioned(agents, tokens=teams.TOKENS, sessions=teams.SESSIONS)

    async def work() -> tuple[Staged, float, float, int]:
        await row.ready()
        began, first = clock.now(), 0.0
        async for item in row.stream(QUESTION, options=LENGTH):
            first = first or (clock.now() - began if isinstance(item, Delta) else 0.0)
        assert isinstance(item, Staged)
        began = clock.now()
        many = await asyncio.gather(*(row.ask(QUESTION, options=LENGTH) for _ in range(teams.SESSIONS)))
        return item, first, clock.now() - began, sum(one.usage.completion_tokens for one in many)

    one, first, seconds, tokens = asyncio.run(clock.run(work()))
    said = one.usage.completion_tokens
    return {
        "link": link,
        "nodes": len(one.stages),
        "stages": [f"{stage.begin}..{stage.end - 1}" for stage in one.stages],
        "memory_per_node": round(memory),
        "peak_weights": [_peak(agent.host) for agent in agents],
        "whole": round(known.whole),
        "first_token_s": first,
        "s_per_token": (one.seconds - first) / max(1, said - 1),
        "bytes_per_token": sum(one.bytes.values()) / said,
        "prompt_tokens": one.usage.prompt_tokens,
        "tokens": said,
        "tokens_per_s_alone": said / one.seconds,
        "tokens_per_s_of_four": tokens / seconds,
    }


def _peak(host: Any) -> int:
    assert isinstance(host, LocalHost)
    part: Any = host.worker.parts["partition"]
    return int(part.peak)
