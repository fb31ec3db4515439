"""Shaped links beside emulated ones: how long messages take over real TCP between namespaces, and over ``Network``.

The bar is 5 %, of the time that an emulated link computes; who waits for that time wakes up to a millisecond late,
which is told too. Messages go over connections that are warm, as those of Ray and gRPC are; what a new connection
costs is told beside them. Round-trip times, sizes and rates are those at which devices are connected.
"""

import asyncio
import json as jsonlib
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from typing import Any

from aiflow.bench.cluster.transfers import Transfers, cluster
from aiflow.cluster import Network, Topology

SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
RATES = (1e6, 3e6, 10e6)
RTTS = (0.0, 0.002, 0.02, 0.1)
BAR = 0.05
_WARM = 5_000_000


def main(*, quick: bool = False, repeats: int = 3, json: bool = False) -> None:
    """Prints seconds per case, their ratio, and the worst ratio."""
    rates, sizes = (RATES[::2], SIZES[:3]) if quick else (RATES, SIZES)
    rows = _told(_pairs(rates, sizes, repeats))
    hops, lossy = _told(_hops(repeats)), _told(_lossy(repeats))
    worst = {kind: _worst(rows, kind, "ratio") for kind in ("tun", "tc")}
    waited = {kind: _worst(rows, kind, "ratio_waited") for kind in ("tun", "tc")}
    print(f"{len(rows)} cases; from the emulated links' time {worst['tun']:.1%} at most (bar {BAR:.0%}), ", end="")
    print(
        f"{worst['tc']:.1%} without delay; from when waiting for them ends {waited['tun']:.1%} and {waited['tc']:.1%}"
    )
    if json:
        held: dict[str, Any] = {"cases": rows, "hops": hops, "jitter_and_loss": lossy}
        print(jsonlib.dumps({**held, "worst": worst, "worst_waited": waited, "bar": BAR, "ok": worst["tun"] <= BAR}))


def _worst(rows: list[dict[str, Any]], kind: str, ratio: str) -> float:
    return max(abs(float(row[ratio]) - 1) for row in rows if row["link"] == kind)


def _told(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        print(_line(row), flush=True)
        found.append(row)
    return found


def _pairs(rates: tuple[float, ...], sizes: tuple[int, ...], repeats: int) -> Iterator[dict[str, Any]]:
    with cluster(_pair(1e6, 0.02), _name()) as made:
        for rate in rates:
            for rtt in RTTS:
                made.set_link("phone", "cloud", rate=rate, rtt=rtt)
                with Transfers(made, ["phone", "cloud"]) as transfers:
                    cold = {size: transfers.seconds(size, cold=True) for size in sizes}
                    transfers.seconds(_WARM)
                    transfers.seconds(_WARM)
                    for size in sizes:
                        times = repeats if size >= 1_000_000 else 5 * repeats  # short ones vary more
                        shaped = [transfers.seconds(size) for _ in range(times)]
                        emulated = _emulated(made.topology, "phone", "cloud", size, times)
                        case = {"link": "tun" if rtt else "tc", "rate": rate, "rtt": rtt, "size": size}
                        yield {**case, **_compared(shaped, emulated), "cold_s": cold[size]}


def _hops(repeats: int) -> list[dict[str, Any]]:
    """Two links: packets forwarded by the node between, and messages relayed by a process on it."""
    text = (
        "nodes: {phone: device, edge: edge, cloud: cloud}\nlinks:\n"
        "  - {between: [phone, edge], rate: 2 MB/s, rtt: 10 ms}\n"
        "  - {between: [edge, cloud], rate: 10 MB/s, rtt: 30 ms}"
    )
    rows = []
    with cluster(text, _name()) as made:
        for relays in (True, False):
            with Transfers(made, ["phone", "edge", "cloud"], relays=relays) as transfers:
                for size in (100_000, 1_000_000):
                    for _ in range(3):
                        transfers.seconds(1_000_000)
                    shaped = [transfers.seconds(size) for _ in range(repeats)]
                    emulated = _emulated(made.topology, "phone", "cloud", size, repeats)
                    way = "two links, relayed" if relays else "two links, forwarded"
                    rows.append({"link": way, "rate": 2e6, "rtt": 0.04, "size": size, **_compared(shaped, emulated)})
    return rows


def _lossy(repeats: int) -> list[dict[str, Any]]:
    """Jitter and loss: the emulated link has one draw for a message, TCP its own way to recover. Means are compared."""
    rows = []
    with cluster(_pair(2e6, 0.02), _name()) as made:
        for jitter, loss in ((0.01, 0.0), (0.0, 0.01)):
            made.set_link("phone", "cloud", jitter=jitter, loss=loss)
            with Transfers(made, ["phone", "cloud"]) as transfers:
                transfers.seconds(1_000_000)
                for size in (10_000, 100_000):
                    shaped = [transfers.seconds(size) for _ in range(10 * repeats)]
                    emulated = _emulated(made.topology, "phone", "cloud", size, 10 * repeats)
                    name = f"jitter {jitter * 1e3:g} ms" if jitter else f"loss {loss:.0%}"
                    row = {"link": name, "rate": 2e6, "rtt": 0.02, "size": size}
                    rows.append({**row, **_compared(shaped, emulated, statistics.fmean)})
    return rows


def _emulated(topology: Topology, src: str, dst: str, size: int, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds that a sender waits, and those that the links compute: waiting ends up to a millisecond late."""

    async def times() -> tuple[list[float], list[float]]:
        network = Network(topology)
        waited, computed = [], []
        for _ in range(repeats):
            begun = time.perf_counter()
            delivery = await network.send(src, dst, size)
            waited.append(time.perf_counter() - begun)
            computed.append(delivery.seconds)
        return waited, computed

    return asyncio.run(times())


def _compared(
    shaped: list[float], emulated: tuple[list[float], list[float]], middle: Any = statistics.median
) -> dict[str, float]:
    ours, waited, computed = middle(shaped), middle(emulated[0]), middle(emulated[1])
    return {"shaped_s": ours, "emulated_s": waited, "ratio": ours / computed, "ratio_waited": ours / waited}


def _pair(rate: float, rtt: float) -> str:
    return f"nodes: {{phone: device, cloud: cloud}}\nlinks: [{{between: [phone, cloud], rate: {rate}, rtt: {rtt}}}]"


def _name() -> str:
    return f"bench{os.getpid()}"


def _line(row: dict[str, Any]) -> str:
    case = f"{row['link']:<20} {row['rate'] / 1e6:4g} MB/s  rtt {row['rtt'] * 1e3:5g} ms  {row['size'] / 1e3:6g} KB"
    cold = f"  new connection {row['cold_s']:.4f} s" if "cold_s" in row else ""
    both = f"shaped {row['shaped_s']:.4f} s  emulated {row['emulated_s']:.4f} s"
    return f"{case}  {both}  ratio {row['ratio']:.3f} (waited {row['ratio_waited']:.3f}){cold}"
