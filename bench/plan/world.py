"""The world of the contest: a phone, an edge and a cloud with models on them, and seeded traces of what changes there.

Fixed before anything was tuned: five kinds of traces, in each of which one thing (or everything) changes as it does in
networks and on shared machines. Nothing here knows planners.

==========  =============================================================================================
steps       both links' rates and round trips jump every 15 to 60 s, 0.05..50 MB/s and 2..200 ms
fades       the Wi-Fi's rate drifts over two decades within tens of seconds (a mean-reverting random walk)
outages     each link is down for 2 to 15 s, every 40 s on average
busy        cloud and edge take 1 to 8 times longer, in phases of 10 to 60 s; the phone is throttled 1 to 3 times
mixed       all of it, in a milder form
==========  =============================================================================================
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aiflow.cluster.profiles import Profiles
from aiflow.cluster.topology import Topology
from aiflow.cluster.traces import Trace
from aiflow.collaboration.planning.state import Hop

KINDS = ("steps", "fades", "outages", "busy", "mixed")
LINKS = ("phone-edge", "edge-cloud")
AGENTS = ("phone", "edge", "cloud")
_STEP = 1.0  # seconds of a piece of a fade


@dataclass(frozen=True, kw_only=True)
class World:
    """What is true in one trace: rates by hop (bytes/s, 0 in an outage), one-way delays by link, slowness by agent."""

    name: str
    seconds: float
    rates: Mapping[Hop, Trace]
    delays: Mapping[str, Trace]
    loads: Mapping[str, Trace]
    speeds: Mapping[str, Trace]
    """1 / load, so that work is sent through it as bytes through a link."""


def topology() -> Topology:
    """What is configured, and where every estimate begins: typical values, true of no trace."""
    return Topology(
        nodes={"phone": "device", "edge": "edge", "cloud": "cloud"},
        links=[
            {"between": ["phone", "edge"], "rate": "4 MB/s", "rtt": "10 ms"},
            {"between": ["edge", "cloud"], "rate": "12 MB/s", "rtt": "40 ms"},
        ],
    )


def profiles() -> Profiles:
    """A 1.5 B model on a phone, an 8 B one at the edge whose family the phone shares, a 70 B one in the cloud.

    The speeds are typical of such models on a phone's accelerator, a workstation's and a server's; the capacities are
    those of one series. Settings of the codec follow the form of measured profiles (bytes rise, the score saturates).
    """
    series = {"capacity": 1.0, "bias": 28.0}
    looks = {"image_tokens": 256}
    phone = {
        "agent": "phone", "node": "phone", "prefill": 400, "decode": 0.020, "per_row": 0.0008, "start": 0.02,
        "encode": 0.5, "flops": 3e9, "family": "eight", "width": 4096, "depth": 32,
        "exits": [{"exit": 8, "prefill": 350, "decode": 0.024, "acceptance": 0.7}],
    }  # fmt: skip
    edge = {
        "agent": "edge", "node": "edge", "prefill": 4000, "decode": 0.016, "per_row": 0.0003, "start": 0.02,
        "encode": 0.08, "flops": 16e9, "family": "eight", "width": 4096, "depth": 32, "dtype": "float16",
    }  # fmt: skip
    cloud = {
        "agent": "cloud", "node": "cloud", "prefill": 3000, "decode": 0.040, "per_row": 0.0005, "start": 0.03,
        "encode": 0.1, "flops": 140e9,
    }  # fmt: skip
    pairs = [("phone", "edge", 0.7), ("phone", "cloud", 0.6), ("edge", "cloud", 0.8)]
    ways = [(8, 0, 600, 0.80), (16, 1, 1500, 0.90), (32, 2, 4000, 0.96), (64, 3, 10000, 1.0)]
    return Profiles(
        agents=[{**one, **series, **looks} for one in (phone, edge, cloud)],
        pairs=[{"draft": a, "judge": b, "acceptance": p} for a, b, p in pairs],
        settings=[
            {
                "device": "phone",
                "server": server,
                "tokens": m,
                "level": q,
                "nbytes": n,
                "score": s,
                "device_seconds": 0.5,
            }
            for server in ("edge", "cloud")
            for m, q, n, s in ways
        ],
    )


def make(kind: str, seed: int, seconds: float) -> World:
    """One seeded trace; the same arguments give the same world."""
    rng = np.random.default_rng([KINDS.index(kind), seed, 8])
    mild = kind == "mixed"
    rates: dict[Hop, Trace] = {}
    delays: dict[str, Trace] = {}
    for link, usual, trip in (("phone-edge", 4e6, 0.010), ("edge-cloud", 12e6, 0.040)):
        base = usual * math.exp(rng.normal(0, 0.4))
        up = _wobbling(rng, base, 0.1, seconds)
        if kind == "steps" or mild:
            up = _steps(rng, seconds, (15, 60), *((0.05e6, 50e6) if kind == "steps" else (0.2e6, 30e6)))
        if kind == "fades" and link == "phone-edge":
            up = _fades(rng, base, seconds)
        if kind == "outages" or mild:
            up = _outages(
                rng, up, seconds, 40.0 if kind == "outages" else 90.0, (2, 15) if kind == "outages" else (2, 8)
            )
        rates[link, False] = Trace(trace=up)
        rates[link, True] = Trace(trace=[(t, r * 1.5) for t, r in up])
        trips = _steps(rng, seconds, (15, 60), 0.002, 0.2) if kind == "steps" else [(0.0, trip)]
        delays[link] = Trace(trace=[(t, r / 2) for t, r in trips])
    loads = {}
    for agent, most in (("phone", 3.0), ("edge", 8.0), ("cloud", 8.0)):
        much = most if kind == "busy" else 1 + (most - 1) / 2 if mild else 1.3
        loads[agent] = Trace(trace=_steps(rng, seconds, (10, 60), 1.0, much))
    speeds = {name: Trace(trace=[(t, 1 / x) for t, x in one.points]) for name, one in loads.items()}
    return World(name=f"{kind}-{seed}", seconds=seconds, rates=rates, delays=delays, loads=loads, speeds=speeds)


Points = list[tuple[float, float]]


def _steps(rng: np.random.Generator, seconds: float, dwell: tuple[float, float], low: float, high: float) -> Points:
    """Log-uniform values that last for uniform times."""
    points, now = [], 0.0
    while now < seconds:
        points.append((now, float(math.exp(rng.uniform(math.log(low), math.log(high))))))
        now += float(rng.uniform(*dwell))
    return points


def _wobbling(rng: np.random.Generator, base: float, spread: float, seconds: float) -> Points:
    return [(5.0 * k, base * math.exp(rng.normal(0, spread))) for k in range(int(seconds / 5) + 1)]


def _fades(rng: np.random.Generator, base: float, seconds: float) -> Points:
    """An Ornstein-Uhlenbeck walk of log10 of the rate: mean a third of ``base``, spread 0.6, memory 15 s."""
    keep = math.exp(-_STEP / 15.0)
    x, points = float(rng.normal(0, 0.6)), []
    for k in range(int(seconds / _STEP) + 1):
        points.append((k * _STEP, float(np.clip(base / 3 * 10**x, 0.05e6, 50e6))))
        x = keep * x + 0.6 * math.sqrt(1 - keep**2) * float(rng.normal())
    return points


def _outages(
    rng: np.random.Generator, points: Points, seconds: float, every: float, last: tuple[float, float]
) -> Points:
    """Cuts pieces out of a rate: 0 for ``last`` seconds, every ``every`` s on average."""
    cut, now = [], float(rng.exponential(every))
    while now < seconds:
        end = now + float(rng.uniform(*last))
        cut.append((now, end))
        now = end + float(rng.exponential(every))
    times = sorted({t for t, _ in points} | {t for pair in cut for t in pair})
    trace, found = Trace(trace=points), []
    for t in times:
        down = any(a <= t < b for a, b in cut)
        found.append((t, 0.0 if down else trace.rate(t)))
    return found
