"""Tiers in one process: every frame is encoded, carried and decoded, and nothing waits. For tests and one machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiflow.collaboration.decoding.engine import Engine, Read
from aiflow.collaboration.decoding.tier import Tier


@dataclass(frozen=True, kw_only=True)
class Station:
    """A tier and the model it speaks by."""

    tier: Tier
    engine: Engine
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Ran:
    """What a session took: forward passes of each tier, and bytes up and down of each link."""

    passes: list[int]
    up: list[int]
    down: list[int]


def step(station: Station) -> bool:
    """One round of a tier, if it has something to do."""
    tier = station.tier
    work = tier.want()
    if work is None:
        return False
    read = Read(session=tier.job.session, tokens=work.tokens, rows=work.rows, extra=station.extra)
    (logits,) = station.engine.read([read])
    tier.take(work, logits)
    return True


def run(stations: Sequence[Station]) -> Ran:
    """Runs the tiers, the device first, until the answer is final on the device. The lowest tier that can work does.

    Raises RuntimeError if the plans let nobody work.
    """
    ran = Ran(passes=[0] * len(stations), up=[0] * len(stations), down=[0] * len(stations))
    while not stations[0].tier.done:
        for k, station in enumerate(stations):
            if step(station):
                ran.passes[k] += 1
                deliver(stations, ran)
                break
        else:
            if not deliver(stations, ran):
                raise RuntimeError("no tier can work; let the device draft (ahead > 0), or the tier above be eager.")
    return ran


def deliver(stations: Sequence[Station], ran: Ran) -> bool:
    """Carries all frames that wait to where they go; whether there was one."""
    any_ = False
    for k in [*range(len(stations)), *reversed(range(len(stations)))]:
        up, down = stations[k].tier.outgoing()
        for frame in up:
            ran.up[k] += len(frame)
            stations[k + 1].tier.receive(frame)
        for frame in down:
            ran.down[k - 1] += len(frame)
            stations[k - 1].tier.receive(frame)
        any_ = any_ or bool(up or down)
    return any_
