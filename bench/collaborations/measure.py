"""Measures collaborations of recorded agents on every board, and prints the honest table: won, tied and lost.

Multiple looks: on each development half all of ``methods.CANDIDATES`` are compared, by cross-validation; the other half
is looked at for the chosen one only. Suites, pools and candidates were fixed on the development half of seed 0. That
both directions are pooled was decided after the first direction had been looked at once (of 25 rows: 2 won, 2 lost);
its results stand in every row, as ``halves[0]``. Holm's correction is over the rows of the table that is printed.
Boards of one suite overlap (pools, mixtures), so their rows are not independent findings.

Negative control: where chance dealt out the two members' scores (ScienceQA, 120 times) nothing was won and 11 were
lost. The bar in hindsight favours the members.
"""

import json as jsonlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiflow.bench.collaborations import boards
from aiflow.bench.collaborations.methods import CANDIDATES
from aiflow.bench.collaborations.protocol import ALPHA, Against, Direction, Finding, again, find, verdict
from aiflow.bench.stats import holm

SUITE = "collaborations"
SPLITS = 20
NOTES = (
    "Every question is picked by a method found on the half (by hash) without it; both directions.",
    "The bar is the best member in hindsight on these questions. p: sign-flip permutation over units, two-sided.",
    "half 1, half 2: each direction alone, against the best member of that half. Candidates were designed on the "
    "development half of the first, so the first is the cleaner one; it was looked at before both were pooled.",
    "Holm: p corrected for all rows of this table. Rows of one suite share questions and are not independent.",
    "Mixed boards are one stream of several suites: a part of what is won there is knowing whom to ask in which suite.",
    "AlpacaEval's score is the win rate, which rewards length; the length-controlled rates stand beside it above.",
    "cost: billion parameters asked per question, collaboration / best single; plurality and oracle ask everyone.",
    "splits: the method of half 1 on other splits, one direction: ahead / significantly ahead / behind; overlapping "
    "data, so a check of robustness and no further evidence.",
)


def measure(
    data: Path | None = None, suites: Sequence[str] | None = None, seed: int = 0, splits: int = SPLITS
) -> dict[str, Any]:
    """All findings as JSON values: ``{"suite", "rows": [...], "summary", "notes", ...}``.

    ``data``: the folder with the suites' folders (None: each suite's default); ``suites``: names of ``boards.builders``
    (None: all); ``splits``: how many further splits tell how much hangs on this one. Raises UsageError for an unknown
    name, DataError for files that are missing or malformed.
    """
    start = time.perf_counter()
    rows: list[dict[str, Any]] = []
    for name in suites or boards.builders():
        whole = boards.load(name, data)
        for pool in boards.POOLS.get(name, ("all",)):
            begun = time.perf_counter()
            finding = find(boards.pooled(whole, pool), seed=seed)
            robust = (
                again(finding.board, finding.directions[0].method, range(seed + 1, seed + 1 + splits))
                if splits
                else None
            )
            rows.append(row(finding) | {"suite": name, "pool": pool, "robustness": robust})
            rows[-1]["seconds"] = round(time.perf_counter() - begun, 1)
    for one, p in zip(rows, holm([one["p"] for one in rows]), strict=True):
        one["p_holm"] = p
    verdicts = [one["verdict"] for one in rows]
    return {
        "suite": SUITE,
        "seed": seed,
        "candidates": [method.name for method in CANDIDATES],
        "rows": rows,
        "summary": {name: verdicts.count(name) for name in ("won", "tied", "lost")}
        | {"won_after_holm": sum(one["verdict"] == "won" and one["p_holm"] < ALPHA for one in rows)}
        | {"won_half_1": sum(one["halves"][0]["verdict"] == "won" for one in rows)},
        "notes": list(NOTES),
        "seconds": round(time.perf_counter() - start, 1),
    }


def row(finding: Finding) -> dict[str, Any]:
    """A finding as JSON values. ``without_vote``: answers in which none was found; ``unknown``: without a score."""
    board, bar = finding.board, finding.hindsight
    return {
        "board": board.name,
        "kind": board.kind,
        "unit": board.unit,
        "members": dict(finding.members),
        "units": sum(finding.directions[0].units),
        "without_vote": {m: int((votes == "").sum()) for m, votes in zip(board.members, board.votes_MQ, strict=True)},
        "unknown": {m: int((w_Q == 0).sum()) for m, w_Q in zip(board.members, board.weights_MQ, strict=True)},
        "score": finding.score.value,
        "ci": finding.score.ci,
        **_against(bar),
        "verdict": finding.verdict,
        "halves": [_direction(one) for one in finding.directions],
        "tried": len(finding.directions[0].tried),
        "mean_member": sum(finding.members.values()) / len(finding.members),
        "plurality": finding.plurality,
        "oracle": finding.oracle,
        "switched": finding.switched,
        "cost": {"collaboration": finding.cost, "best_single": finding.cost_single, "unit": board.cost_unit},
        "figures": {who: dict(found) for who, found in finding.figures.items()},
    }


def _direction(one: Direction) -> dict[str, Any]:
    """``development`` are cross-validated scores; the first candidate is the best single member."""
    return {
        "method": one.method.name,
        "units": dict(zip(("development", "test"), one.units, strict=True)),
        "development": {"collaboration": one.tried[one.method.name], "best_single": next(iter(one.tried.values()))},
        "candidates": dict(one.tried),
        "score": one.score,
        **_against(one.hindsight),
        "verdict": verdict(one.hindsight),
        "best_single_beforehand": {
            "name": one.beforehand.name,
            "score": one.beforehand.score,
            "difference": one.beforehand.difference.value,
            "p": one.beforehand.p,
        },
    }


def _against(found: Against) -> dict[str, Any]:
    return {
        "best_single": {"name": found.name, "score": found.score},
        "difference": found.difference.value,
        "difference_ci": found.difference.ci,
        "p": found.p,
        "p_mcnemar": found.p_mcnemar,
        "units_won": found.won,
        "units_lost": found.lost,
    }


def main(
    *,
    data: Path | None = None,
    suites: Sequence[str] | None = None,
    seed: int = 0,
    splits: int = SPLITS,
    plots: Path | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Measures and prints the table on stdout; with ``json`` the table goes to stderr and the JSON line to stdout.

    ``plots``: a folder for the figure.
    """
    from rich.console import Console

    from aiflow.bench.collaborations.show import show
    from aiflow.bench.provenance import provenance

    found = measure(data, suites, seed, splits) | {"provenance": provenance()}
    console = Console(stderr=json)
    if not console.is_terminal:
        console.width = max(console.width, 190)
    show(found, console)
    if plots:
        from aiflow.bench.collaborations.plots import plot

        print(f"figure: {plot(found, plots)}", file=sys.stderr)
    if json:
        print(jsonlib.dumps(found), file=sys.stdout)
    return found


__all__ = ["SUITE", "main", "measure"]
