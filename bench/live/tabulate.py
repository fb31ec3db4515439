"""From the records of a live run to Results: Table III's rows, each subject's published figures, curve, ablation."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from aiflow.bench import stats
from aiflow.bench.live import Live
from aiflow.bench.live.phases import Phases, Subset
from aiflow.bench.live.team import GRAPH, MERGED, SELF_MOA
from aiflow.bench.results import Results, Row, ablation, costs, curve, row, scores
from aiflow.bench.stats import Floats
from aiflow.bench.suite import Record, Suite, Turn

ALONE, AFTER, JOINT, BASELINE = "alone", "after collaboration", "aggregate", "baselines"
NOTES = (
    "95 % intervals: bootstrap over questions. An error scores 0 and is counted; an unreadable judgment is no score.",
    "p50 s: median wait per turn with {parallel} conversations in flight, without turns that reuse an earlier answer.",
)
BEST = "The best single agent is chosen in hindsight on these very questions, which favours it."


def tabulate(name: str, phases: Phases, live: Live, produced: dict[str, Any]) -> Results:
    """The results of a finished run."""
    suite, seed = phases.suite, live.seed
    after = {f"{n} after collaboration": finals(phases.records[MERGED], n) for n in _revised(phases)}
    notes = [note.format(parallel=live.parallel) for note in NOTES] + ([BEST] if len(phases.alone) > 1 else [])
    return Results(
        title=name,
        suite=suite.name,
        questions=len(suite.samples),
        best=suite.best,
        unit=suite.unit,
        rows=_rows(phases, seed),
        differences=_differences(phases, seed) if phases.alone else {},
        curve=curve(phases.devices, partial(_part, phases), seed) if live.curve else (),
        ablation=ablation(phases.devices, partial(_part, phases), seed) if live.curve else (),
        notes=notes,
        models={subject: figures(suite, found, seed) for subject, found in {**phases.records, **after}.items()},
        run=produced,
    )


def figures(suite: Suite, records: Sequence[Record], seed: int = 0) -> dict[str, Any]:
    """What is published of one subject, and beside it counts of questions, errors, answers without a score.

    ``mean`` and ``mean_ci``: of the questions' scores, 0..``Suite.best``; that is the ``score`` too, unless the
    benchmark publishes another, as Arena-Hard, whose games weigh differently, and MME do.
    """
    turns = [turn for record in records for turn in record.turns]
    unscored = sum(turn.score is None for turn in turns)
    found: dict[str, Any] = {"n": len(records), "errors": sum(bool(turn.error) for turn in turns)}
    found |= {"questions": len(records), "unparsed": unscored, "unscored": unscored}
    found["empty"] = sum(_empty(turn) for turn in turns)
    published = dict(suite.summary(records)) if suite.summary else {}
    mean = stats.mean(_by_question(records), seed, groups=drawn_of(suite))
    if mean.ci:
        found |= {"mean": round(mean.value, 6), "mean_ci": mean.ci}
        found |= {} if "score" in published else {"score": found["mean"], "score_ci": mean.ci}
    return published | {name: value for name, value in found.items() if name not in published}


def finals(joint: Sequence[Record], name: str) -> list[Record]:
    """A device's records after the collaboration: its final answers; a turn in which it has none is an error."""

    def turn(t: Turn) -> Turn:
        if (final := t.finals.get(name)) is None:
            return Turn(text="", score=0.0, error=t.error or "no final answer")
        return Turn(text=final.text, score=final.score)

    return [replace(r, subject=name, turns=tuple(turn(t) for t in r.turns)) for r in joint]


def drawn_of(suite: Suite) -> list[str]:
    """The group of each sample, which the bootstrap draws as one."""
    return [f"{s.category}/{s.group}" if s.group else f"sample {s.id}" for s in suite.samples]


def _empty(turn: Turn) -> bool:
    return not turn.error and not turn.text.strip()


def _revised(phases: Phases) -> list[str]:
    joint = phases.records.get(MERGED, [])
    return [n for n in phases.devices if any(n in turn.finals for record in joint for turn in record.turns)]


def _rows(phases: Phases, seed: int) -> list[Row]:
    records = phases.records

    def line(name: str, group: str, found: Sequence[Record], **more: Any) -> Row:
        return row(name, group, scores(found), seed, drawn_of(phases.suite), **more)

    rows = [line(name, ALONE, records[name], **_spent(phases, name)) for name in phases.alone]
    rows += [line(name, AFTER, finals(records[MERGED], name)) for name in _revised(phases)]
    joint = [name for name in (MERGED, GRAPH) if name in records]
    rows += [
        line(name, JOINT, records[name], key="merged" if n == 0 else "", **costs(records[name]))
        for n, name in enumerate(joint)
    ]
    if len(phases.alone) > 1:
        best = records[phases.best]
        spent = _spent(phases, phases.best)
        rows.append(line(f"best single ({phases.best})", BASELINE, best, key="best_single", **spent))
        rows.append(row("oracle", BASELINE, _oracle(phases), seed, drawn_of(phases.suite), key="oracle"))
    if SELF_MOA in records:
        rows.append(line(SELF_MOA, BASELINE, records[SELF_MOA], key="self_moa", **costs(records[SELF_MOA])))
    return rows


def _spent(phases: Phases, name: str) -> dict[str, Any]:
    """What an agent alone cost; of recorded ones that is unknown."""
    found = costs(phases.records[name])
    return {"errors": found["errors"]} if name in phases.live.recorded else found


def _oracle(phases: Phases) -> Floats:
    best: Floats = np.fmax.reduce([scores(phases.records[name]) for name in phases.alone])
    return best


def _by_question(records: Sequence[Record]) -> Floats:
    found: Floats = stats.known_mean(scores(records), 1)
    return found


def _differences(phases: Phases, seed: int) -> dict[str, stats.Estimate]:
    best, drawn = _by_question(phases.records[phases.best]), drawn_of(phases.suite)
    found = {
        f"{name} - best single": stats.difference(_by_question(phases.records[name]), best, seed, groups=drawn)
        for name in (MERGED, GRAPH)
        if name in phases.records
    }
    for name in _revised(phases):
        after, alone = finals(phases.records[MERGED], name), phases.records[name]
        found[f"{name}: after - alone"] = stats.difference(_by_question(after), _by_question(alone), seed, groups=drawn)
    if SELF_MOA in phases.records and MERGED in phases.records:
        merged, moa = _by_question(phases.records[MERGED]), _by_question(phases.records[SELF_MOA])
        found["merged - Self-MoA"] = stats.difference(merged, moa, seed, groups=drawn)
    return found


def _part(phases: Phases, members: Subset) -> Floats:
    return _by_question(phases.records[phases.parts[members]])
