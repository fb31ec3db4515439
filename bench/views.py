"""Results as plain JSON values: the line that ``--json`` prints and the log's header holds."""

import math
from typing import Any

from aiflow.bench.plain import plain
from aiflow.bench.results import Results, Row
from aiflow.bench.stats import Estimate


def as_json(results: Results) -> dict[str, Any]:
    """Rows, differences, curve, ablation and what produced them. Suites add their headline figures by ``headline``.

    What is not finite is None.
    """
    found: dict[str, Any] = plain(_everything(results))
    return found


def _everything(results: Results) -> dict[str, Any]:
    return {
        "suite": results.suite,
        "title": results.title,
        "best": results.best,
        "unit": results.unit,
        **headline(results),
        "n": results.questions,
        "rows": [_row(row) for row in results.rows],
        "differences": {name: estimate(e) for name, e in results.differences.items()},
        "curve": [
            {"agents": s.agents, "members": list(s.members), **named("score", s.score), **named("mean_score", s.mean)}
            for s in results.curve
        ],
        "ablation": [
            {"name": a.name, **named("score", a.score), **named("difference", a.difference)} for a in results.ablation
        ],
        "notes": list(results.notes),
        **({"models": {name: dict(figures) for name, figures in results.models.items()}} if results.models else {}),
        **results.run,
    }


def headline(results: Results) -> dict[str, Any]:
    """``merged``, ``best_single``, ``self_moa``, ``oracle`` with intervals, and ``devices``, if there are such rows."""
    found: dict[str, Any] = {}
    for row in results.rows:
        if row.key:
            found |= named(row.key, row.score)
    after = {row.name: row.score for row in results.rows if row.group == "after collaboration"}
    alone = {row.name: row.score for row in results.rows if row.group == "alone" and row.name in after}
    pairs = [{"name": name, **named("alone", e), **named("after", after[name])} for name, e in alone.items()]
    return found | ({"devices": pairs} if pairs else {})


def named(name: str, value: Estimate) -> dict[str, Any]:
    """``{name: value, name_ci: [lo, hi]}``."""
    return {name: value.rounded, f"{name}_ci": value.ci}


def estimate(value: Estimate) -> dict[str, Any]:
    """``{value, ci}``."""
    return {"value": value.rounded, "ci": value.ci}


def _row(row: Row) -> dict[str, Any]:
    waits = {"latency": row.latency, "latency_loaded": row.loaded}
    costs = waits | {"bytes": row.bytes, "tokens": row.tokens, "links": dict(row.links)}
    known = {name: value for name, value in costs.items() if value not in (None, {})}
    turns = [None if math.isnan(turn) else round(turn, 4) for turn in row.turns]
    who = {"name": row.name, "group": row.group, "turns": turns} | ({"key": row.key} if row.key else {})
    return who | named("score", row.score) | known | {"errors": row.errors}
