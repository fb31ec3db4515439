"""From the records of a nano run to Results: the rows of Table III, differences, curve and ablation. Pure."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from aiflow.bench import stats
from aiflow.bench.nano.phases import IDLE, MERGED, Run
from aiflow.bench.results import Results, Row, ablation, costs, curve, row, scores
from aiflow.bench.self_moa import SelfMoA
from aiflow.bench.stats import Floats
from aiflow.bench.suite import Record

ALONE, AFTER, JOINT, BASELINE = "alone", "after collaboration", "aggregate", "baselines"
NOTES = (
    "95 % intervals: bootstrap over questions, both turns together. An error scores 0 and is counted.",
    "The best single agent is chosen in hindsight on these very questions, which favours it.",
    "p50 s: median wait per turn, links included, on {idle} questions asked one by one; alone means on its own node.",
    "The scores were measured with {parallel} conversations in flight; the median wait then is in the JSON.",
    "bytes/q, tokens/q: both turns, all links, all models involved; rows after collaboration share its exchange.",
    "Turn 2 is asked with the asker's own first answer in context: the merged one in the collaboration.",
    "Merged: merge={merge!r} of the two devices that the server selects.",
    "Self-MoA: {best} sampled {voices} times at temperature 0.7; {moa}.",
    "Vote: the most frequent answer of the devices alone (ties: their mean). Oracle: right where any device alone is.",
)
CACHED = (
    "Curve and ablation measure quality only: an answer given before to the same conversation is not generated anew."
)


def tabulate(run: Run, seed: int, produced: dict[str, Any]) -> Results:
    """The results of a finished run."""
    fill = {
        "parallel": run.parallel,
        "idle": min(IDLE, len(run.suite.samples)),
        "best": run.best,
        "voices": SelfMoA.n,
        "merge": run.merge,
        "moa": "merged by the same server" if run.merge == "synthesis" else "the most frequent sample counts",
    }
    notes = [note.format(**fill) for note in NOTES] + ([CACHED] if run.subsets else [])
    return Results(
        title="Device-server collaboration, nano suite",
        suite=run.suite.name,
        questions=len(run.suite.samples),
        best=run.suite.best,
        unit=run.suite.unit,
        rows=_rows(run, seed),
        differences=_differences(run, seed),
        curve=curve(run.names, partial(_part, run), seed) if run.subsets else (),
        ablation=ablation(run.names, partial(_part, run), seed) if run.subsets else (),
        notes=notes,
        run=produced,
    )


def _rows(run: Run, seed: int) -> list[Row]:
    records, joint = run.records, run.records[MERGED]
    rows = [row(name, ALONE, scores(records[name]), seed, **_costs(run, name)) for name in run.names]
    rows += [row(name, AFTER, finals(joint, name), seed, errors=_silent(joint, name)) for name in run.names]
    rows.append(row(MERGED, JOINT, scores(joint), seed, key="merged", **_costs(run, MERGED)))
    best, moa = records[run.best], records["Self-MoA"]
    rows.append(
        row(f"best single ({run.best})", BASELINE, scores(best), seed, key="best_single", **_costs(run, run.best))
    )
    rows.append(row("Self-MoA", BASELINE, scores(moa), seed, key="self_moa", **_costs(run, "Self-MoA")))
    rows.append(row("vote", BASELINE, vote([records[name] for name in run.names]), seed, key="vote"))
    return [*rows, row("oracle", BASELINE, oracle(run), seed, key="oracle")]


def _costs(run: Run, name: str) -> dict[str, Any]:
    loaded = costs(run.records[name])
    return loaded | {"latency": run.waits.get(name), "loaded": loaded["latency"]}


def _differences(run: Run, seed: int) -> dict[str, stats.Estimate]:
    merged = scores(run.records[MERGED]).mean(axis=1)
    others = {"best single": run.records[run.best], "Self-MoA": run.records["Self-MoA"]}
    found = {f"merged - {n}": stats.difference(merged, scores(r).mean(axis=1), seed) for n, r in others.items()}
    found["merged - oracle"] = stats.difference(merged, oracle(run).mean(axis=1), seed)
    for name in run.names:
        after, alone = finals(run.records[MERGED], name).mean(axis=1), scores(run.records[name]).mean(axis=1)
        found[f"{name}: after - alone"] = stats.difference(after, alone, seed)
    return found


def _part(run: Run, members: frozenset[str]) -> Floats:
    found: Floats = run.subsets[members].mean(axis=1)
    return found


def finals(joint: Sequence[Record], name: str) -> Floats:
    """A device's scores after collaboration; 0 where it has no final answer."""
    return np.array([[t.finals[name].score if name in t.finals else 0.0 for t in r.turns] for r in joint])


def _silent(joint: Sequence[Record], name: str) -> int:
    return sum(name not in turn.finals for record in joint for turn in record.turns)


def oracle(run: Run) -> Floats:
    """Per turn the best of the devices alone: what perfect selection among them would give."""
    best: Floats = np.max([scores(run.records[name]) for name in run.names], axis=0)
    return best


def vote(voters: Sequence[Sequence[Record]]) -> Floats:
    """Per turn the score of the most frequent answer; where several are, their mean."""
    from aiflow.graphs.blocks.vote import normal

    def elected(record: int, turn: int) -> float:
        said = [voter[record].turns[turn] for voter in voters]
        votes = Counter(normal(t.text) for t in said)
        most = max(votes.values())
        value = {normal(t.text): t.score or 0.0 for t in said}
        tied = [value[text] for text, count in votes.items() if count == most]
        return sum(tied) / len(tied)

    shape = scores(voters[0]).shape
    return np.array([[elected(q, t) for t in range(shape[1])] for q in range(shape[0])])
