"""Settings that follow the channel: five changing link traces, requests one after the other, a deadline for each.

Sizes and marks are those that `rate` measured, item by item; links are emulated in simulated time. The nano streams
have 40 to 250 bytes where those of a 7 B model have some 2 to 9 KB, so the links are slower by the same factor: 5 to
100 KB/s stand for 0.2 to 4 MB/s.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from aiflow.bench.tofc.rate import Measured
from aiflow.cluster.traces import Trace
from aiflow.collaboration.tofc.control import Controller, Setting

REQUESTS, PAUSE, RTT = 2000, 0.1, 0.01
"""Of each trace; seconds between requests; round trip in seconds."""
LINK = 0.02
"""Seconds that a deadline leaves to the link beyond its round trip and the slowest setting's computing."""
SHARE = 0.99
"""Of requests that must meet the deadline."""
SLOW, FAST = 4e3, 1e5
Floats = Any


def traces(seed: int = 0) -> dict[str, Trace]:
    """Steps, a ramp, a random walk, a sawtooth, and bursts of a loaded link; 200 seconds each, in bytes/s."""
    rng = random.Random(f"{seed} traces")
    walk, rate = list[tuple[float, float]](), 2e4
    for second in range(200):
        walk.append((float(second), rate))
        rate = min(FAST, max(SLOW, rate * rng.choice((0.8, 0.9, 1.0, 1.1, 1.25))))
    ramp = [(float(s), SLOW * (FAST / SLOW) ** (1 - abs(s - 100) / 100)) for s in range(200)]
    saw = [(float(s), SLOW + (FAST - SLOW) * (s % 50) / 50) for s in range(200)]
    bursts, moment = list[tuple[float, float]](), 0.0
    while moment < 200:
        bursts.append((moment, rng.uniform(5e4, FAST)))
        bursts.append((moment + rng.uniform(5, 15), rng.uniform(SLOW, 3 * SLOW)))
        moment = bursts[-1][0] + rng.uniform(2, 6)
    found = {
        "steps": [(0.0, FAST), (60.0, 1e4), (120.0, 4e4), (170.0, SLOW)],
        "ramp": ramp,
        "walk": walk,
        "sawtooth": saw,
        "bursts": bursts,
    }
    return {name: Trace(trace=points) for name, points in found.items()}


@dataclass(frozen=True, kw_only=True)
class Played:
    """One run over a trace: mean mark, share of deadlines met, mean bytes."""

    score: float
    met: float
    nbytes: float


class Requests:
    """The same requests for everyone: request i asks item i (in a fixed random order) at ``i * PAUSE`` seconds."""

    def __init__(self, found: Sequence[Measured], profile: Sequence[Setting], trace: Trace, seed: int = 0) -> None:
        self.profile, self.trace = list(profile), trace
        self.deadline = max(s.device_seconds + s.server_seconds for s in profile) + RTT + LINK
        self.sizes = {s: f.sizes for s, f in zip(self.profile, found, strict=True)}
        self.marks = {
            s: [m for form in f.marks.values() for m in form] for s, f in zip(self.profile, found, strict=True)
        }
        items = len(found[0].sizes)
        self.order = np.random.default_rng(seed).integers(0, items, REQUESTS)

    def play(self, choose: Any, observe: Any = None) -> Played:
        """``choose()`` gives each request's setting; ``observe(bytes, seconds)`` hears what the link did."""
        marks, met, sizes, free = [], [], [], 0.0
        for number, item in enumerate(self.order):
            setting = choose()
            start = number * PAUSE + setting.device_seconds
            begin = max(start, free)  # an earlier stream may still be on the link
            size = self.sizes[setting][item]
            free = self.trace.finish(begin, size)
            done = free + RTT + setting.server_seconds - number * PAUSE
            if observe:
                observe(size, free - begin)
            met.append(done <= self.deadline)
            marks.append(self.marks[setting][item])
            sizes.append(size)
        return Played(score=fmean(marks), met=fmean(met), nbytes=fmean(sizes))


def settings(found: Sequence[Measured], times: dict[int, tuple[float, float]]) -> list[Setting]:
    """The profile of measured settings; ``times``: by tokens, device and server seconds."""
    return [
        Setting(
            tokens=f.system.tokens,
            level=f.system.quality,
            nbytes=float(np.percentile(f.sizes, 95)),
            score=fmean(_flat(f)),
            device_seconds=times[f.system.tokens][0],
            server_seconds=times[f.system.tokens][1],
        )
        for f in found
    ]


def run(found: Sequence[Measured], times: dict[int, tuple[float, float]]) -> list[dict[str, Any]]:
    """Each trace: the controller, and the best fixed setting that meets the deadline in ``SHARE`` of the requests."""
    profile, rows = settings(found, times), []
    for name, trace in traces().items():
        requests = Requests(found, profile, trace)
        control = Controller(profile, rate=SLOW, rtt=RTT)
        rows.append({"trace": name, **_row(requests, control)})
    return rows


def _row(requests: Requests, control: Controller) -> dict[str, Any]:
    fixed = {s: requests.play(lambda s=s: s) for s in requests.profile}
    fitting = {s: played for s, played in fixed.items() if played.met >= SHARE}
    best = max(fitting, key=lambda s: fitting[s].score) if fitting else None
    own = requests.play(lambda: control.choose(requests.deadline), control.observe)
    return {
        "score": own.score,
        "met": own.met,
        "bytes": own.nbytes,
        "best_fixed": f"{best.tokens}/{best.level}" if best else None,
        "best_fixed_score": fitting[best].score if best else None,
        "best_fixed_bytes": fitting[best].nbytes if best else None,
    }


def _flat(found: Measured) -> list[float]:
    return [mark for form in found.marks.values() for mark in form]
