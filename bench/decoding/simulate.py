"""Sessions of collaborative decoding over emulated links, in simulated or real time: real tiers, nodes and frames.

In simulated time the models may be replaced by coins: a lower tier agrees with the one above at each place with a given
probability, so a curve over links and speeds needs a measured acceptance and no model.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiflow.clock import Clock, VirtualClock
from aiflow.cluster.links import EmulatedLink
from aiflow.collaboration.decoding.engine import Engine, Read
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.node import Node, Pace, Seat, Send
from aiflow.collaboration.decoding.pilot import Pilot
from aiflow.collaboration.decoding.rules import Greedy
from aiflow.collaboration.decoding.tier import Job, Plan, Tier


class Coins:
    """Says 0 of two tokens at a share ``alpha`` of the places, else 1; the same at the same place."""

    def __init__(self, alpha: float, places: int, seed: int) -> None:
        wrong = np.arange(places + 2) >= round(
            alpha * (places + 2)
        )  # the very share, so that plans differ and not luck
        np.random.default_rng(seed).shuffle(wrong)
        self._rows = torch.zeros(places + 2, 2)
        self._rows[torch.arange(places + 2), torch.from_numpy(wrong.astype(np.int64))] = 1.0

    def read(self, asked: Sequence[Read]) -> list[Tensor]:
        """Logits (rows, 2)."""
        return [self._rows[len(one.tokens) - one.rows + 1 : len(one.tokens) + 1] for one in asked]

    def close(self, session: int) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A tier: seconds of a round and of each proposal in it; ``alpha``: a coin's agreement with the top tier."""

    seconds: float
    per_row: float = 0.0
    alpha: float = 1.0
    plan: Plan = field(default_factory=Plan)

    @property
    def pace(self) -> Pace:
        """Of the node."""
        return lambda works: self.seconds + self.per_row * max(w.rows - 1 for w in works)


@dataclass(frozen=True, kw_only=True)
class Path:
    """The link above a tier: bytes/s (or what else `Trace.of` reads) and seconds."""

    rate: Any
    rtt: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The answer, the seconds it took, rounds by tier, bytes up and down by link."""

    tokens: list[int]
    total: float
    rounds: list[int]
    up: list[int]
    down: list[int]

    @property
    def seconds(self) -> float:
        """Per token."""
        return self.total / len(self.tokens)


def simulate(
    stages: Sequence[Stage],
    paths: Sequence[Path],
    tokens: int,
    seed: int = 0,
    piloted: bool = False,
    patience: float = 60.0,
) -> Outcome:
    """Decodes ``tokens`` tokens by coins in simulated time; ``piloted``, ``patience``: see `session`."""
    clock, job = VirtualClock(), Job(session=1, prompt=(0,), limit=tokens, vocabulary=2)
    engines = [Coins(stage.alpha, tokens, seed + k) for k, stage in enumerate(stages)]
    return asyncio.run(clock.run(session(clock, job, engines, stages, paths, piloted, patience)))


async def session(
    clock: Clock,
    job: Job,
    engines: Sequence[Engine],
    stages: Sequence[Stage],
    paths: Sequence[Path],
    piloted: bool = False,
    patience: float = 60.0,
) -> Outcome:
    """One greedy session, the device first, until its answer is final on the device.

    ``piloted``: the device's plan is what a `Pilot` chooses; ``patience``: the nodes'.
    """
    top, begun = len(stages) - 1, clock.now()
    links = [EmulatedLink(p.rate, p.rtt, clock=clock) for p in paths]
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    flying: set[asyncio.Task[None]] = set()
    seats: list[Seat] = []

    def landed(task: asyncio.Task[None]) -> None:
        flying.discard(task)
        if not task.cancelled() and (error := task.exception()) and not over.done():
            over.set_exception(error)

    def line(k: int, to: int) -> Send | None:
        if not 0 <= to <= top:
            return None
        down = to < k

        async def fly(frame: bytes, arrival: float) -> None:
            await clock.sleep_until(arrival)
            seats[to].deliver(frame, above=down)

        def send(frame: bytes) -> None:
            arrival = links[min(k, to)].reserve(len(frame), down=down)
            task = asyncio.ensure_future(fly(frame, arrival))
            flying.add(task)
            task.add_done_callback(landed)

        return send

    def heard(tier: Tier) -> None:
        if pilot is not None:
            pilot(clock.now())
        if tier.done and not over.done():
            over.set_result(None)

    nodes = [Node(engine, clock, pace=s.pace, patience=patience) for engine, s in zip(engines, stages, strict=True)]
    for k, (node, stage) in enumerate(zip(nodes, stages, strict=True)):
        tier = Tier(job, Greedy(law=Law()), stage.plan, bottom=k == 0, top=k == top)
        seats.append(node.seat(tier, up=line(k, k + 1), down=line(k, k - 1)))
    ask = seats[0].up
    pilot = Pilot(seats[0].tier, told=lambda: ask(seats[0].tier.poll())) if piloted and ask is not None else None
    seats[0].changed = heard
    running = [asyncio.ensure_future(node.run()) for node in nodes]
    for task in running:
        task.add_done_callback(landed)
    await over
    total = clock.now() - begun
    for task in [*running, *flying]:
        task.cancel()
    await asyncio.gather(*running, *flying, return_exceptions=True)
    return Outcome(
        tokens=seats[0].tier.answer,
        total=total,
        rounds=[n.rounds for n in nodes],
        up=[link.traffic().bytes for link in links],
        down=[link.traffic(down=True).bytes for link in links],
    )
