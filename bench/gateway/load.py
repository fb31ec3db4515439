"""``aiflow bench gateway``: many clients, the cost of a request beside bare FastAPI, and memory over time.

Both servers run during the whole measurement and are asked in turns, so that whatever else the machine does falls on
both. Every answer is read and checked: one that is not the agent's is an error.
"""

import asyncio
import json as jsonlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiflow.bench.gateway.client import Line, post, question
from aiflow.bench.gateway.processes import Server, bare, gateway

CLIENTS = (1, 8, 64, 256)
WAYS = ("model", "raw")
QUESTION = "What is the time, said as briefly as you can, for somebody who cannot see a clock?"
BAR = 2.0
_WARM = 2


def main(*, seconds: float = 10.0, rounds: int = 40, minutes: float = 1.0, json: bool = False) -> None:
    """Prints the three parts; ``seconds`` for each number of clients, ``rounds`` of 50 requests, memory ``minutes``."""
    with tempfile.TemporaryDirectory() as folder, gateway(Path(folder)) as ours, bare(Path(folder)) as theirs:
        result = asyncio.run(_measure(ours, theirs, seconds, rounds, minutes))
    _show(result)
    if json:
        print(jsonlib.dumps(result), flush=True)


async def _measure(ours: Server, theirs: Server, seconds: float, rounds: int, minutes: float) -> dict[str, Any]:
    clients = []
    for count in CLIENTS:
        _note(f"{count} clients, {seconds:g} s")
        clients.append({"n": count, **await _load(ours, count, seconds)})
    _note(f"beside FastAPI: {rounds} rounds of 50 requests each")
    beside = await _beside(ours, theirs, rounds)
    _note(f"memory over {minutes:g} min")
    return {"clients": clients, **beside, "memory": await _memory(ours, minutes)}


async def _load(server: Server, count: int, seconds: float) -> dict[str, Any]:
    """``count`` clients ask as fast as they are answered."""
    times: list[float] = []
    errors = 0
    raw = post(question("zero", QUESTION, max_tokens=16))
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal errors
        line = Line.to(server.url)
        while (start := time.perf_counter()) < end:
            good = await _right(line, raw)
            times.append(time.perf_counter() - start)
            errors += not good
        line.close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(count)))
    elapsed = time.perf_counter() - start
    cuts = statistics.quantiles(times, n=100)
    return {
        "rps": len(times) / elapsed,
        "p50": cuts[49],
        "p99": cuts[98],
        "errors": errors,
        "requests": len(times),
    }


async def _right(line: Line, raw: bytes) -> bool:
    try:
        reply = await line.send(raw)
    except (OSError, TimeoutError):
        line.close()
        return False
    if reply.status != 200:
        return False
    said: Any = jsonlib.loads(reply.body)
    return bool(said["choices"][0]["message"]["content"] == "ok")


async def _beside(ours: Server, theirs: Server, rounds: int) -> dict[str, Any]:
    """One client, in turns: the gateway, FastAPI with a pydantic body, FastAPI as fast as it gets."""
    body = question("zero", QUESTION, max_tokens=16)
    ways = {"gateway": (ours, Line.to(ours.url), post(body))}
    ways |= {way: (theirs, Line.to(theirs.url), post(body, path=f"/{way}")) for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in ways}
    work: dict[str, float] = dict.fromkeys(ways, 0.0)
    for turn in range(rounds + _WARM):
        for way, (server, line, raw) in ways.items():
            before, start = server.seconds, time.perf_counter()
            for _ in range(50):
                if not await _right(line, raw):
                    raise RuntimeError(f"{way} gave a wrong answer: {server.log.read_text()[-500:]}")
            if turn >= _WARM:
                times[way].append((time.perf_counter() - start) / 50)
                work[way] += (server.seconds - before) / 50 / rounds
    for _, line, _ in ways.values():
        line.close()
    return {
        "request_s": {way: statistics.median(found) for way, found in times.items()},
        "request_cpu_s": work,
        "overhead_vs_fastapi": _ratio(times["gateway"], times["model"]),
        "overhead_vs_fastapi_raw": _ratio(times["gateway"], times["raw"]),
        "cpu_vs_fastapi": work["gateway"] / work["model"],
        "rounds": rounds,
    }


def _note(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


async def _memory(server: Server, minutes: float) -> dict[str, Any]:
    """Memory under the load of 16 clients, ten samples; growth is that from the second sample to the last."""
    samples = [server.memory]
    for _ in range(10):
        await _load(server, 16, minutes * 6)
        samples.append(server.memory)
    return {"minutes": minutes, "rss": samples, "growth": samples[-1] / samples[1] - 1}


def _show(result: dict[str, Any]) -> None:
    print("clients   requests/s   p50 ms   p99 ms   errors")
    for row in result["clients"]:
        p50, p99 = row["p50"] * 1e3, row["p99"] * 1e3
        print(f"{row['n']:7d} {row['rps']:12.0f} {p50:8.1f} {p99:8.1f} {row['errors']:8d}")
    for way, seconds in result["request_s"].items():
        print(f"{way:<8} {seconds * 1e6:6.0f} us a request, {result['request_cpu_s'][way] * 1e6:6.0f} us of processor")
    print(
        f"overhead beside FastAPI {result['overhead_vs_fastapi']:.2f} (bar {BAR:g}), beside its fastest form "
        f"{result['overhead_vs_fastapi_raw']:.2f}; processor {result['cpu_vs_fastapi']:.2f}"
    )
    memory = result["memory"]
    sizes = ", ".join(f"{size / 1e6:.0f}" for size in memory["rss"])
    print(f"memory over {memory['minutes']:g} min: {sizes} MB, growth {memory['growth'] * 100:.1f} %")
