"""``aiflow bench plan``: the planner beside every static mode and an oracle, on seeded traces of links and load.

Four traces of each kind (`world`), the same requests for everybody (`requests`), true costs (`play`), the `contest`.
"""

import json as jsonlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TRACES, REQUESTS, QUICK = 20, 80, 24


def main(
    *,
    traces: int = TRACES,
    requests: int = REQUESTS,
    seed: int = 0,
    quick: bool = False,
    plots: Path | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Plays the contest, prints its tables, and with ``json`` one JSON object as the last line of stdout.

    Args:
        traces: seeded ones, taking the kinds in turn.
        requests: of each trace.
        seed: of the first trace of each kind.
        quick: five traces of 24 requests.
        plots: a folder for the figure.
        json: as said above.
    """
    from aiflow.bench.plan import tables
    from aiflow.bench.plan.contest import Contest, Result
    from aiflow.bench.plan.requests import make as ask
    from aiflow.bench.plan.world import KINDS, make, profiles, topology
    from aiflow.bench.provenance import provenance
    from aiflow.graphs.workflows.planner import Planner

    traces, requests = (len(KINDS), QUICK) if quick else (traces, requests)
    results: list[Result] = []
    for number in range(traces):
        kind, repeat = KINDS[number % len(KINDS)], seed + number // len(KINDS)
        asked = ask(1000 * repeat + number % len(KINDS), requests)
        world = make(kind, repeat, asked[-1].at + 200.0)
        results.append(Contest(world, asked, Planner(profiles(), topology())).run())
        print(f"plan {world.name}: {tables.ratio(results[-1]):.3f} x the oracle", file=sys.stderr)
    found = summary(results) | {"requests": requests}
    tables.show(found)
    if plots is not None:
        tables.plot(found, plots)
    if json:
        print(jsonlib.dumps(found | {"run": provenance()}), flush=True)
    return found


def summary(results: Sequence[Any]) -> dict[str, Any]:
    """Ratios of total latencies, as means over traces with 95 % intervals, and each trace's row.

    ``vs_best_static``: beside the best way that meets every request's wish; ``helped``: beside any way, helped out by
    the cloud where it does not; ``falling``: these, which also turn to the device when late; ``by_class``: beside a
    fixed way for each class of requests. All are the best of their trace in hindsight; ``overall`` ones of all traces;
    ``oracle_...`` is what the oracle itself reaches.
    """
    from aiflow.bench import stats

    rows = [_row(r) for r in results]
    found: dict[str, Any] = {}
    for name in ("vs_oracle", "vs_best_static", "vs_helped", "vs_falling", "vs_by_class"):
        mean = stats.mean([row[name] for row in rows])
        found |= {name: mean.rounded, f"{name}_ci": mean.ci}
        found[f"oracle_{name}"] = stats.mean([row[name] / row["vs_oracle"] for row in rows]).rounded
    found["vs_oracle_pooled"] = round(sum(r["planner_s"] for r in rows) / sum(r["oracle_s"] for r in rows), 4)
    found["overall"] = {
        name: _overall(results, rows, pick)
        for name, pick in (("static", _strict), ("helped", _helped), ("falling", _falling))
    }
    return found | {"traces": rows}


Pick = Callable[[Any], dict[Any, list[float]]]


def _strict(result: Any) -> dict[Any, list[float]]:
    return {key: row for key, row in result.static.items() if key in result.always}


def _helped(result: Any) -> dict[Any, list[float]]:
    found: dict[Any, list[float]] = result.static
    return found


def _falling(result: Any) -> dict[Any, list[float]]:
    found: dict[Any, list[float]] = result.falling
    return found


def _row(result: Any) -> dict[str, Any]:
    total, oracle = sum(result.planner), sum(result.oracle)
    row: dict[str, Any] = {
        "trace": result.world,
        "planner_s": round(total, 2),
        "oracle_s": round(oracle, 2),
        "vs_oracle": round(total / oracle, 4),
    }
    for name, pick in (("vs_best_static", _strict), ("vs_helped", _helped), ("vs_falling", _falling)):
        key, seconds = _least(pick(result))
        row |= {name: round(total / seconds, 4), name.removeprefix("vs_"): title(key)}
    row["vs_by_class"] = round(total / _by_class(result), 4)
    return row | {
        "taken": result.taken,
        "oracle_took": result.best,
        "second_tries": result.second,
        "probes": result.probes,
        "probe_bytes": round(result.probe_bytes),
        "bytes": round(result.bytes),
        "switches": result.switches,
    }


def _least(rows: dict[Any, list[float]]) -> tuple[Any, float]:
    return min(((key, sum(row)) for key, row in rows.items()), key=lambda pair: pair[1])


def _by_class(result: Any) -> float:
    total = 0.0
    for kind in set(result.classes):
        places = [i for i, one in enumerate(result.classes) if one == kind]
        total += min(sum(row[i] for i in places) for row in result.static.values())
    return total


def _overall(results: Sequence[Any], rows: Sequence[dict[str, Any]], pick: Pick) -> dict[str, Any]:
    """The way that has the least mean ratio to the planner over all traces."""
    from aiflow.bench import stats

    keys = set.intersection(*(set(pick(r)) for r in results))
    ratios = {k: [row["planner_s"] / sum(pick(r)[k]) for row, r in zip(rows, results, strict=True)] for k in keys}
    best = max(ratios, key=lambda k: sum(ratios[k]))
    mean = stats.mean(ratios[best])
    return {"way": title(best), "ratio": mean.rounded, "ci": mean.ci}


def title(key: Any) -> str:
    """A way in words: ``draft_verify_3 phone > edge > cloud, length 4``."""
    mode, parties, parameters = key
    words = [f"{mode} {' > '.join(parties)}", *(f"{name} {value}" for name, value in parameters)]
    return ", ".join(words)
