"""The recorded models as agents of a real deployment without Ray, and the collaborations that are measured."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal

import numpy as np

from aiflow.agents.interface import Asks
from aiflow.bench.collaborations.mt_bench import cards, crossfit
from aiflow.bench.collaborations.mt_bench.server import Expected, ExtractiveServer
from aiflow.bench.stats import Floats
from aiflow.bench.subjects import Collaboration
from aiflow.bench.suites.mt_bench.data import ANSWERS, QUESTIONS, Recorded

HEADLINE = "3 devices"


@dataclass(frozen=True)
class Setup:
    """How a pool works together: how many are selected (0: all), by what, and whether the merge trusts ratings."""

    name: str
    select: int
    by: Literal["expected", "cards"] = "expected"
    trusting: bool = True


SETUPS = (
    Setup("1 device", 1),
    Setup(HEADLINE, 3),
    Setup("5 devices", 5),
    Setup("all devices", 0),
    Setup("3 devices by model card, plain consensus", 3, "cards", False),
    Setup("all devices, plain consensus", 0, trusting=False),
)


@asynccontextmanager
async def recorded_agents(recorded: Recorded, data: Path) -> AsyncIterator[Mapping[str, Asks]]:
    """An agent per model: up to 13 B on devices, larger ones on the edge, OpenAI's on the cloud.

    Links count bytes and take no time: how long the models took was not recorded.
    """
    from aiflow import connect
    from aiflow.agents.home import home_topology

    async with connect(home_topology(), local=True, emulate=False) as cluster:
        small = cycle([name for name, node in cluster.topology.nodes.items() if node.tier == "device"])
        for model in recorded.models:
            held = any(size in model.lower() for size in cards.SMALL)
            node = "cloud" if model.startswith("gpt-") else next(small) if held else "edge"
            source = f"replay:{data / ANSWERS}#{model}"
            cluster.agent(
                cards.short(model), node=node, model=source, about=cards.about(model), questions=str(data / QUESTIONS)
            )
        yield dict(cluster.agents)


def ratings(recorded: Recorded) -> Floats:
    """The mean rating of each model on each question, ``r_MQ``, in the order of ``recorded.models`` and samples."""
    rows = [[sum(recorded.ratings[m][s.id]) / len(s.turns) for s in recorded.samples] for m in recorded.models]
    return np.array(rows)


def expectations(recorded: Recorded) -> Expected:
    """What to expect of each agent on each question, from the other questions."""
    e_MQ: Floats = crossfit.expected(ratings(recorded), [s.category for s in recorded.samples])
    names = [cards.short(model) for model in recorded.models]
    return {s.id: dict(zip(names, map(float, e_MQ[:, q]), strict=True)) for q, s in enumerate(recorded.samples)}


def collaboration(
    pool: str, setup: Setup, recorded: Recorded, agents: Mapping[str, Asks], expected: Expected
) -> Collaboration:
    """The device-server graph on the agents of a pool."""
    from aiflow.graphs import device_server

    abouts = {name: agent.about for name, agent in agents.items()}
    server = ExtractiveServer(recorded.samples, abouts, expected if setup.trusting else {})
    graph = device_server(
        server,
        list(agents.values()),
        select=setup.select or "all",
        selector="tfidf" if setup.by == "cards" else "server",
        merge="best_of_n",
        revise=False,
        context_limit=None,
    )
    return Collaboration(f"{pool}: {setup.name}", graph)
