"""From a log's header back to ``Results``; where it holds no table, rows are made anew from the records."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from aiflow.bench.log import Header
from aiflow.bench.report.rebuild import rebuilt
from aiflow.bench.results import Ablated, Results, Row, Size
from aiflow.bench.stats import Estimate
from aiflow.bench.suite import Record, Sample

Records = Mapping[str, Mapping[str, Record]]
_TOLD = {"suite", "title", "best", "unit", "n", "rows", "differences", "curve", "ablation", "notes", "devices"}
REBUILT = "The log holds no table; the rows were made from its records, with intervals by the bootstrap over questions."
EMPTY = "This log holds no scores yet."


Ci = tuple[float, float] | None
"""An interval; None, as its value, where there was nothing to average."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _RowForm(_Form):
    name: str
    group: str
    turns: list[float | None]
    score: float | None
    score_ci: Ci
    latency: float | None = None
    latency_loaded: float | None = None
    bytes: float | None = None
    tokens: float | None = None
    links: dict[str, float] = {}
    errors: int = 0
    key: str = ""


class _Interval(_Form):
    value: float | None
    ci: Ci


class _Size(_Form):
    agents: int
    members: list[str]
    score: float | None
    score_ci: Ci
    mean_score: float | None
    mean_score_ci: Ci


class _Ablated(_Form):
    name: str
    score: float | None
    score_ci: Ci
    difference: float | None
    difference_ci: Ci


class _Table(_Form):
    """The form of ``views.as_json``."""

    rows: list[_RowForm]
    n: int
    differences: dict[str, _Interval] = {}
    curve: list[_Size] = []
    ablation: list[_Ablated] = []
    notes: list[str] = []


def results_of(header: Header, samples: Sequence[Sample], records: Records) -> Results:
    """The header's table if it has one in our form, else one made from the records."""
    found = header.results
    scored = (turn.score for by in records.values() for r in by.values() for turn in r.turns)
    best = _best(found, [score for score in scored if score is not None])
    unit = str(found.get("unit") or {100.0: "%", 1.0: "of 1", 10.0: "of 10"}.get(best, ""))
    title = str(found.get("title") or header.suite)
    try:
        table = _Table.model_validate(found) if found.get("rows") else None
    except ValidationError:
        table = None
    if table is None:
        rows = rebuilt(samples, records)
        shape: dict[str, Any] = {"rows": rows, "notes": [REBUILT if rows else EMPTY], "questions": len(samples)}
    else:
        shape = _shape(table, found)
    models = figures_of(found)
    return Results(title=title, suite=header.suite, best=best, unit=unit, models=models, run=_run(header), **shape)


def figures_of(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``results["models"]``: published figures by model; none if it is something else."""
    models = results.get("models")
    if not isinstance(models, Mapping) or not all(isinstance(value, Mapping) for value in models.values()):
        return {}
    return {str(name): dict(value) for name, value in models.items()}


def _shape(table: _Table, found: Mapping[str, Any]) -> dict[str, Any]:
    intervals = {name: found.get(f"{name}_ci") for name in found}
    keys = {name: (found[name], tuple(ci)) for name, ci in intervals.items() if isinstance(ci, list)}
    rows = [_row(form) for form in table.rows]
    for name, (value, ci) in keys.items() if not any(form.key for form in table.rows) else ():
        _mark(rows, name, value, ci)
    return {
        "rows": rows,
        "questions": table.n,
        "differences": {name: _estimate(form.value, form.ci) for name, form in table.differences.items()},
        "curve": [
            Size(
                agents=form.agents,
                members=tuple(form.members),
                score=_estimate(form.score, form.score_ci),
                mean=_estimate(form.mean_score, form.mean_score_ci),
            )
            for form in table.curve
        ],
        "ablation": [
            Ablated(
                name=form.name,
                members=(),
                score=_estimate(form.score, form.score_ci),
                difference=_estimate(form.difference, form.difference_ci),
            )
            for form in table.ablation
        ],
        "notes": table.notes,
    }


def _row(form: _RowForm) -> Row:
    same = form.model_dump(include={"name", "group", "latency", "bytes", "tokens", "links", "errors", "key"})
    score = _estimate(form.score, form.score_ci)
    turns = tuple(math.nan if turn is None else turn for turn in form.turns)
    return Row(**same, turns=turns, score=score, loaded=form.latency_loaded)


def _estimate(value: float | None, ci: Ci) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan) if value is None or ci is None else Estimate(value, *ci)


def _mark(rows: list[Row], key: str, value: Any, ci: tuple[float, ...]) -> None:
    """Gives a headline figure back to its row: the one with its value, best by name, alone rows last."""

    def fits(number: int) -> tuple[bool, bool]:
        row = rows[number]
        return not row.name.lower().replace(" ", "_").replace("-", "_").startswith(key), row.group == "alone"

    same = [n for n, row in enumerate(rows) if (row.score.value, (row.score.lo, row.score.hi)) == (value, ci)]
    same = [n for n in same if not rows[n].key]
    if same:
        chosen = min(same, key=fits)
        rows[chosen] = replace(rows[chosen], key=key)


def _best(found: Mapping[str, Any], scores: Sequence[float]) -> float:
    """The header's, else the smallest customary scale that holds all scores."""
    if isinstance(found.get("best"), int | float) and not isinstance(found.get("best"), bool) and found["best"] > 0:
        return float(found["best"])
    high = max(scores, default=100.0)
    return next((scale for scale in (1.0, 10.0, 100.0) if high <= scale), high)


def _run(header: Header) -> dict[str, Any]:
    """What produced it: the header's entries, and those plain ones of the results that the page shows nowhere else."""
    shown = _TOLD | {name for name in header.results if f"{name}_ci" in header.results or name.endswith("_ci")}
    plain = {
        name: value
        for name, value in header.results.items()
        if name not in shown and (isinstance(value, str | int | float) or value is None)
    }
    return {**header.run, **plain}
