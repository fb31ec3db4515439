"""Scores recorded judgments: all figures of the leaderboard for every model, and how far each is from the published."""

from collections.abc import Mapping
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np

from aiflow.bench.plain import plain
from aiflow.bench.suites.alpaca_eval import annotations, data
from aiflow.bench.suites.alpaca_eval.annotations import Annotated
from aiflow.bench.suites.alpaca_eval.data import BASELINE, NAME, Control
from aiflow.bench.suites.alpaca_eval.length_control import (
    Coefficients,
    LengthControlled,
    from_coefficients,
    grid,
    length_controlled,
)
from aiflow.bench.suites.alpaca_eval.score import win_rate
from aiflow.errors import DataError

SAME_PREFERENCE, SAME_COEFFICIENTS = 1e-5, 0.02


def recorded(folder: Path | None = None) -> dict[str, Any]:
    """``{"suite", "models": {model: figures}}`` of a folder or file of recorded judgments (None: the default folder).

    Figures have the leaderboard's names. ``preference_mismatches``: rows whose recorded probabilities give another
    preference than the recorded one, of ``logprob_rows``. ``difference``: from the figures that the file holds as
    published. Where a length-controlled win rate cannot be had it is None, and ``length_controlled_note`` says why.
    Raises DataError.
    """
    found = annotations.load(folder)
    control, why = None, ""
    try:
        control = data.control(folder)
    except DataError as error:
        why = str(error)
    known = data.coefficients(folder)
    models = {one.model: _figures(one, control, why, known.get(one.model)) for one in found}
    note = f"length control by {', '.join(map(str, control.files))}" if control else f"no length control: {why}"
    return {"suite": NAME, "models": models, "notes": [note]}


def _figures(one: Annotated, control: Control | None, why: str, known: Coefficients | None) -> dict[str, Any]:
    rate = win_rate(one.preference_N, one.model)
    figures: dict[str, Any] = {"win_rate": rate.win_rate, "length_controlled_winrate": None, "lc_standard_error": None}
    figures |= {"C": None, **asdict(rate), "n_missing": one.missing, "avg_length": _average(one)}
    try:
        figures |= _controlled(one, control, why, known)
    except DataError as error:
        figures["length_controlled_note"] = str(error)
    if known and control:
        figures["length_controlled_from_coefficients"] = from_coefficients(known, control.difficulty)
    checked = ~np.isnan(one.recomputed_N)
    apart = np.abs(one.recomputed_N[checked] - one.preference_N[checked]) > SAME_PREFERENCE
    figures |= {"logprob_rows": int(checked.sum()), "preference_mismatches": int(apart.sum())}
    if one.published:
        figures["published"] = dict(one.published)
        figures["difference"] = _difference(figures, one.published)
    found: dict[str, Any] = plain(figures)
    return found


def _average(one: Annotated) -> int | None:
    """In characters, cut off. A missing row counts as an empty output, which the published averages bear out."""
    known = one.length_N[~np.isnan(one.length_N)]
    return int(float(known.sum()) / (known.size + one.missing)) if known.size else None


def _controlled(one: Annotated, control: Control | None, why: str, known: Coefficients | None) -> dict[str, Any]:
    """Raises DataError with the reason why there is no such figure."""
    if one.baseline != BASELINE:
        raise DataError(f"difficulties and gamed rows are known for the baseline {BASELINE}, not {one.baseline}.")
    if one.model == BASELINE:
        return {"length_controlled_winrate": 50.0, "lc_standard_error": 0.0, "C": None}
    if control is None:
        raise DataError(why)
    if (rows := len(one.ids)) > control.difficulty.size:
        raise DataError(f"{rows} rows, and difficulties of {control.difficulty.size} instructions only.")
    found = _refit(one, control)
    figures = {
        "length_controlled_winrate": found.length_controlled_winrate,
        "lc_standard_error": found.lc_standard_error,
        "C": found.C,
    }
    return figures | (_at_published(one, control, known) if known else {})


def _refit(one: Annotated, control: Control, C: float | None = None) -> LengthControlled:
    """Where rows are missing, AlpacaEval takes the difficulty by the row's number, not by the instruction; so here."""
    rows = len(one.ids)
    hard = control.difficulty[:rows]
    return length_controlled(one.preference_N, one.length_N, one.baseline_length_N, hard, control.gamed, C)


def _at_published(one: Annotated, control: Control, known: Coefficients) -> dict[str, Any]:
    """The refit with the C that gives the published coefficients; nothing where none does, so the data are others."""

    def apart(fitted: LengthControlled) -> float:
        pairs = zip(astuple(fitted.coefficients), astuple(known), strict=True)
        return float(max(abs(ours - theirs) for ours, theirs in pairs))

    best = min((_refit(one, control, float(C)) for C in grid()), key=apart)
    if apart(best) > SAME_COEFFICIENTS:
        return {}
    return {"C_published": best.C, "length_controlled_at_published_C": best.length_controlled_winrate}


def _difference(figures: Mapping[str, Any], published: Mapping[str, float | None]) -> dict[str, float]:
    names = ("win_rate", "discrete_win_rate", "length_controlled_winrate")
    pairs = ((name, figures.get(name), published.get(name)) for name in names)
    return {name: float(ours - theirs) for name, ours, theirs in pairs if ours is not None and theirs is not None}
