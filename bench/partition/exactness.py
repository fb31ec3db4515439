"""Requests while nodes are lost at random places: is every text the single machine's?

Seeded: which model, greedy or sampled, which node fails, at which call, how (it dies before or after its work, hangs,
garbles), for how long, and whether a second one does. Time is simulated; what is computed is real.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from aiflow.agents.deployment import connect
from aiflow.agents.partition import partitioned
from aiflow.agents.partition.events import Staged
from aiflow.bench.diffusion.unreliable import KINDS, Fault, Unreliable
from aiflow.bench.partition import teams
from aiflow.clock import VirtualClock
from aiflow.nano.questions import suite
from aiflow.types import Options

MODELS = ("aiflow:nano/base", "aiflow:nano/math", "aiflow:nano/family")
NODES, PATIENCE, LONGEST = 5, 1.0, 300.0
CALLS = 8
"""A fault strikes within so many calls of a node."""


def run(count: int, seed: int) -> dict[str, Any]:
    """``wrong``: texts that are not the whole model's; ``failed``: requests without an answer."""
    draw = random.Random(seed)
    asked = []
    for question in suite(count, seed):
        heat = draw.choice([0.0, 0.0, 0.8])
        options = Options(max_tokens=40, temperature=heat, top_p=0.95, seed=draw.getrandbits(30))
        asked.append((draw.choice(MODELS), question.turns[0], options))
    wanted = asyncio.run(_whole(asked))
    rows = [_one(draw, *one) for one in asked]
    recovered = [r for _, found in rows if found is not None for r in found.recoveries]
    return {
        "requests": count,
        "wrong": sum(f is not None and f.text != text for (_, f), text in zip(rows, wanted, strict=True)),
        "failed": sum(found is None for _, found in rows),
        "disturbed": sum(found is not None and found.epochs > 1 for _, found in rows),
        "losses": len(recovered),
        "sampled": sum(options.temperature > 0 for _, _, options in asked),
        "by_kind": dict(Counter(kind for kinds, _ in rows for kind in kinds)),
    }


async def _whole(asked: Sequence[tuple[str, str, Options]]) -> list[str]:
    cluster = connect({"nodes": {"hub": "edge"}}, local=True)
    agents = {model: cluster.agent(model, node="hub", model=model) for model in MODELS}
    texts = [(await agents[model].ask(question, options=options)).text for model, question, options in asked]
    await cluster.aclose()
    return texts


def _one(draw: random.Random, model: str, question: str, options: Options) -> tuple[list[str], Staged | None]:
    clock = VirtualClock()
    memory = teams.least(teams.sizes(model), draw.choice([2, 3]))
    _, agents = teams.team(model, NODES, clock, rate=1e6, rtt=0.01, memory=memory)
    row = partitioned(
        agents, tokens=teams.TOKENS, sessions=teams.SESSIONS, patience=PATIENCE, rebalance=draw.random() < 0.5
    )

    async def ask() -> tuple[list[str], Staged | None]:
        await row.ready()
        kinds = []
        for agent, _ in draw.sample(row.pool.row, draw.choice([1, 1, 2])):
            host = agent.host
            assert isinstance(host, Unreliable)
            kind: Any = draw.choice(KINDS)
            at = host.calls + draw.randint(1, CALLS)
            host.fault = Fault(kind=kind, at=at, calls=draw.choice([1, 2, None]))
            kinds.append(kind)
        return kinds, await row.ask(question, options=options, deadline=LONGEST)

    return asyncio.run(clock.run(ask()))
