"""A session of collaborative decoding in simulated time: the real tiers, nodes and frames over emulated links.

Only the models are replaced, by coins: a lower tier agrees with the one above at each place with a given probability,
so a curve over links and speeds needs a measured acceptance and no model.

Legend: V = 2 tokens: 0 is what the top tier says.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiflow.clock import VirtualClock
from aiflow.cluster.links import EmulatedLink
from aiflow.collaboration.decoding.engine import Read
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.node import Node, Seat, Send
from aiflow.collaboration.decoding.rules import Greedy
from aiflow.collaboration.decoding.tier import Job, Plan, Tier


class Coins:
    """Says 0 at a place with probability ``alpha``, else 1; the same at the same place."""

    def __init__(self, alpha: float, places: int, seed: int) -> None:
        wrong = np.arange(places + 2) >= round(alpha * (places + 2))  # the very share, so that plans differ and not luck
        np.random.default_rng(seed).shuffle(wrong)
        self._row = torch.zeros(places + 2, 2)
        self._row[torch.arange(places + 2), torch.from_numpy(wrong.astype(np.int64))] = 1.0

    def read(self, asked: Sequence[Read]) -> list[Tensor]:
        """Logits (rows, 2)."""
        return [self._row[len(one.tokens) - one.rows + 1 : len(one.tokens) + 1] for one in asked]

    def close(self, session: int) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A tier: ``alpha`` agreement with the top tier, seconds of a round, and of each proposal in it."""

    seconds: float
    per_row: float = 0.0
    alpha: float = 1.0
    plan: Plan = field(default_factory=Plan)


@dataclass(frozen=True, kw_only=True)
class Path:
    """The link above a tier: bytes/s and seconds."""

    rate: float
    rtt: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``seconds`` per token of the answer; ``rounds`` by tier; bytes up and down by link; accepted share by tier."""

    seconds: float
    rounds: list[int]
    up: list[int]
    down: list[int]
    acceptance: list[float]


def simulate(stages: Sequence[Stage], paths: Sequence[Path], tokens: int, seed: int = 0, pilot: Any = None) -> Outcome:
    """Decodes ``tokens`` tokens. ``pilot``: hears of every change of the device's tier and may change plans."""
    clock = VirtualClock()
    return asyncio.run(clock.run(_session(clock, stages, paths, tokens, seed, pilot)))


async def _session(
    clock: VirtualClock, stages: Sequence[Stage], paths: Sequence[Path], tokens: int, seed: int, pilot: Any
) -> Outcome:
    top, job = len(stages) - 1, Job(session=1, prompt=(0,), limit=tokens, vocabulary=2)
    links = [EmulatedLink(p.rate, p.rtt, clock=clock) for p in paths]
    flying: set[asyncio.Task[None]] = set()
    seats: list[Seat] = []

    def line(k: int, to: int) -> Send | None:
        if not 0 <= to <= top:
            return None
        down = to < k

        async def fly(frame: bytes, arrival: float) -> None:
            await clock.sleep_until(arrival)
            seats[to].deliver(frame, above=down)

        def send(frame: bytes) -> None:
            task = asyncio.ensure_future(fly(frame, links[min(k, to)].reserve(len(frame), down=down)))
            flying.add(task)
            task.add_done_callback(landed)

        return send

    def landed(task: asyncio.Task[None]) -> None:
        flying.discard(task)
        if not task.cancelled() and (error := task.exception()) and not over.done():
            over.set_exception(error)

    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def heard(tier: Tier) -> None:
        if pilot is not None:
            pilot(clock.now(), [s.tier for s in seats])
        if tier.done and not over.done():
            over.set_result(None)

    nodes = []
    for k, stage in enumerate(stages):
        engine = Coins(stage.alpha, tokens, seed + k)
        pace = _pace(stage)
        node = Node(engine, clock, pace=pace, patience=60.0)
        tier = Tier(job, Greedy(law=Law()), stage.plan, bottom=k == 0, top=k == top)
        seats.append(node.seat(tier, up=line(k, k + 1), down=line(k, k - 1)))
        nodes.append(node)
    seats[0].changed = heard
    running = [asyncio.ensure_future(node.run()) for node in nodes]
    await over
    seconds = clock.now() / tokens
    for task in [*running, *flying]:
        task.cancel()
    await asyncio.gather(*running, *flying, return_exceptions=True)
    return Outcome(
        seconds=seconds,
        rounds=[n.rounds for n in nodes],
        up=[link.traffic().bytes for link in links],
        down=[link.traffic(down=True).bytes for link in links],
        acceptance=[s.tier.accepted / max(1, s.tier.judged) for s in seats],
    )


def _pace(stage: Stage) -> Any:
    return lambda works: stage.seconds + stage.per_row * max(w.rows - 1 for w in works)
