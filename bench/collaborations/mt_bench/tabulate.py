"""From MT-Bench records to Results: every model alone, and per pool the collaborations beside their baselines. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aiflow.bench import stats
from aiflow.bench.collaborations.mt_bench import cards, crossfit
from aiflow.bench.collaborations.mt_bench.team import HEADLINE, SETUPS
from aiflow.bench.results import Results, Row, costs, row, scores
from aiflow.bench.stats import Estimate, Floats
from aiflow.bench.suite import Record, Suite
from aiflow.bench.suites.mt_bench.data import Recorded

NOTES = (
    "Scores are the recorded GPT-4 ratings (1..10) of the recorded answers; 95 % intervals: bootstrap over questions.",
    "No judge takes part: a collaboration picks one recorded model's answer, whose recorded rating is its score.",
    "A recorded second answer continues its own model's first one; so a pick holds for both turns of a question.",
    "Selection and trust know each model's ratings on the other questions of the category (leave one question out);"
    " plain consensus knows no ratings.",
    "Best single is the best model of the pool in hindsight; 'known beforehand' the best on the other questions.",
    "Oracle: the best model for each question in hindsight. Random: the mean of the pool.",
    "Not measurable on recordings, and so not shown: Self-MoA and revision (one answer per model), model latency.",
)


def tabulate(
    recorded: Recorded, suite: Suite, records: Mapping[str, Sequence[Record]], seed: int, produced: dict[str, Any]
) -> Results:
    """The results of a finished run."""
    s_MQT = {m: scores(records[cards.short(m)]) for m in recorded.models}
    rows = [_alone(cards.short(m), records[cards.short(m)], seed) for m in recorded.models]
    rows.sort(key=lambda found: -found.score.value)
    differences: dict[str, Estimate] = {}
    for number, (name, pool) in enumerate(cards.pools(recorded.models).items()):
        joint = {setup.name: records[f"{name}: {setup.name}"] for setup in SETUPS}
        single = np.array([s_MQT[m] for m in pool])
        rows += _pool(name, pool, single, joint, seed, lead=number == 0)
        differences |= _differences(name, single, scores(joint[HEADLINE]), seed)
    dropped = f"{recorded.dropped} questions left out: a judgment without a rating."
    return Results(
        title="Device-server collaboration, MT-Bench recordings",
        suite=suite.name,
        questions=len(suite.samples),
        best=suite.best,
        unit=suite.unit,
        rows=rows,
        differences=differences,
        notes=[*NOTES, *([dropped] if recorded.dropped else [])],
        run=produced,
    )


def _alone(name: str, records: Sequence[Record], seed: int) -> Row:
    return row(name, "alone", scores(records), seed, **_words(records))


def _words(records: Sequence[Record]) -> dict[str, Any]:
    """What the recordings tell of costs: words as tokens and bytes, no times."""
    return costs(records) | {"latency": None}


def _pool(
    name: str, pool: Sequence[str], s_PQT: Floats, joint: Mapping[str, Sequence[Record]], seed: int, *, lead: bool
) -> list[Row]:
    def key(text: str) -> str:
        return text if lead else ""

    rows = [
        row(setup, name, scores(records), seed, key=key("merged") if setup == HEADLINE else "", **_words(records))
        for setup, records in joint.items()
    ]
    top = int(np.argmax(s_PQT.mean(axis=(1, 2))))
    picked_Q = s_PQT.mean(axis=2).argmax(axis=0)
    oracle = s_PQT[picked_Q, np.arange(s_PQT.shape[1])]
    return [
        *rows,
        row(f"best single ({cards.short(pool[top])})", name, s_PQT[top], seed, key=key("best_single")),
        row("best single, known beforehand", name, _before(s_PQT), seed, key=key("best_single_beforehand")),
        row("random", name, s_PQT.mean(axis=0), seed, key=key("random")),
        row("oracle", name, oracle, seed, key=key("oracle")),
    ]


def _before(s_PQT: Floats) -> Floats:
    chosen_Q = crossfit.best_before(s_PQT.mean(axis=2))
    return s_PQT[chosen_Q, np.arange(s_PQT.shape[1])]


def _differences(name: str, s_PQT: Floats, merged_QT: Floats, seed: int) -> dict[str, Estimate]:
    merged_Q = merged_QT.mean(axis=1)
    single = s_PQT[int(np.argmax(s_PQT.mean(axis=(1, 2))))].mean(axis=1)
    others = {
        "best single": single,
        "best single, known beforehand": _before(s_PQT).mean(axis=1),
        "random": s_PQT.mean(axis=(0, 2)),
    }
    return {f"{name}, {HEADLINE} - {other}": stats.difference(merged_Q, o_Q, seed) for other, o_Q in others.items()}
