"""Scores of recorded models, from battles and from the judge's raw words. No model is asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiflow.bench import stats
from aiflow.bench.suites import files
from aiflow.bench.suites.arena_hard import config, data, games, score
from aiflow.errors import DataError

NAME = "arena-hard"
HEADLINE = "hard_prompt"
"""v2: the category whose score stands for the model."""
NOTES = (
    f"ci: {score.DRAWS:,} bootstrap rounds over all rows, 2.5 and 97.5 percentiles (v2: rows of a model, 5 and 95), "
    f"seed {score.SEED}; ci_100: v0.1's published procedure, {score.ROUNDS} rounds with seed {score.ROUNDS_SEED}, "
    "whose ends scatter by some 0.3 points with the seed",
    "rows of one question are not independent, so these intervals, like the published ones, are too narrow; "
    "ci_questions draws all battles of a question together",
)


def recorded(folder: Path | None = None) -> dict[str, Any]:
    """The published figures of every recorded model, from battles and the judge's raw words. Raises DataError.

    Needs ``battles.jsonl``, ``model_judgment/<judge>/<model>.jsonl`` or ``raw_judgments``; of a model that has both
    battles and judgments the battles count. Battles and judgments are rated apart.
    """
    folder = _locate(folder)
    read, judged = data.battles(folder), data.judgments(folder)
    fought = {name for row in read.rows for name in (row.model_a, row.model_b)} | set(read.dropped)
    baseline = _met_by_all(read.rows, config.baseline(folder))
    models: dict[str, dict[str, Any]] = {
        model: {"version": "v0.1", "dropped": read.dropped.get(model, 0)} for model in fought - {baseline}
    }
    rows: list[score.Battle] = []
    for model, questions in judged.items():
        if model in fought:
            continue
        if len({row.version for row in questions}) > 1:
            raise DataError(f"the judgments of {model} in {folder} are of v0.1 and of v2; keep one of them.")
        if questions[0].version == "v2":
            models[model] = _second(questions)
        else:
            models[model], more = _first(model, questions, baseline)
            rows += more
    if not models:
        raise DataError(f"{folder} holds no battles and no judgments; add {data.BATTLES} or {data.JUDGMENTS}/.")
    league = standings(read.rows, baseline) if read.rows else {}
    league |= standings(rows, _met_by_all(rows, baseline)) if rows else {}
    found = {model: {**(league.get(model) or _nothing(row)), **row} for model, row in sorted(models.items())}
    return {"suite": NAME, "models": found, "notes": list(NOTES)}


def standings(rows: Sequence[score.Battle], baseline: str, draws: int = score.DRAWS) -> dict[str, dict[str, Any]]:
    """Model -> v0.1's figures against the ``baseline`` by Bradley-Terry over all rows; without the baseline itself.

    ``score`` in %, ``ci`` its 95 % bootstrap interval and ``interval`` that as differences, ``elo`` (the baseline has
    1000), ``closed_form``: (wins + ties / 2) / battles in %, which must be equal; None where others were met too.
    ``ci_questions``: the interval when the battles of a question are drawn together, as they should be.
    """
    table = score.Table.of(rows)
    if baseline not in table.models:
        told = f"no battle is against the baseline {baseline!r}, only among {', '.join(table.models)}"
        raise DataError(f"{told}; name another as baseline_model in {data.CONFIG}.")
    odds_M = score.bradley_terry(table.wins(table.counts[None]), table.models.index(baseline))[0]
    drawn = [score.win_rates(table, c, baseline) for c in table.resampled(draws, score.SEED)]
    ci_2M = score.interval(np.concatenate(drawn), 2.5)
    rounds = np.concatenate([score.win_rates(table, c, baseline) for c in table.published_rounds()])
    ci_100_2M = score.interval(rounds, 2.5)
    found = {}
    for place, model in enumerate(table.models):
        if model == baseline:
            continue
        own = [row for row in rows if model in (row.model_a, row.model_b)]
        rate = 100.0 / (1.0 + np.exp(-odds_M[place]))
        found[model] = {
            "score": _number(rate),
            "ci": [_number(x) for x in ci_2M[:, place]],
            "interval": [_number(x - rate) for x in ci_2M[:, place]],
            "ci_100": [_number(x) for x in ci_100_2M[:, place]],
            "ci_questions": _by_question(own, model, baseline),
            "elo": _number(1000.0 + 400.0 * odds_M[place] / np.log(10.0)),
            "closed_form": _closed_form(own, model, baseline),
            "n_battles": len(own),
            "n_questions": len({row.question for row in own}),
            "ties": sum(row.winner == "tie" for row in own),
        }
    return found


def _first(model: str, questions: Sequence[data.Judged], baseline: str) -> tuple[dict[str, Any], list[score.Battle]]:
    """v0.1: what a model's judgments add to its figures, and its battles."""
    rows, dropped, mismatches = [], 0, 0
    for row in questions:
        labels = [games.label(game, row.version) for game in row.games]
        found = games.verdicts(labels, row.version)
        dropped += found.count(None)
        kept = [(game, one) for game, one in zip(row.games, labels, strict=True) if game]
        mismatches += sum(game.score != one for game, one in kept)
        rows += games.battles(row.id, model, row.baseline or baseline, found)
    return {"version": "v0.1", "dropped": dropped, "mismatches": mismatches}, rows


def _second(questions: Sequence[data.Judged]) -> dict[str, Any]:
    """v2's figures of a model by category, and those of its headline category."""
    found = {}
    for category in dict.fromkeys(row.category for row in questions):
        rows = [row for row in questions if row.category == category]
        found[category] = second([games.verdicts([games.label(g, "v2") for g in row.games], "v2") for row in rows])
    headline = HEADLINE if HEADLINE in found else next(iter(found))
    read = [(game, games.label(game, "v2")) for row in questions for game in row.games if game]
    mismatches = sum(game.score != label for game, label in read)
    more = {"version": "v2", "category": headline, "categories": found, "mismatches": mismatches}
    return {**found[headline], **more}


def second(verdicts: Sequence[Sequence[games.Verdict | None]]) -> dict[str, Any]:
    """v2's figures from the verdicts on each question: the mean of the battles, 5 and 95 percentiles."""
    exploded = [v.points for both in verdicts for v in both if v is not None for _ in range(v.weight)]
    dropped = sum(None in both for both in verdicts)
    counts = {"n_battles": len(exploded), "ties": exploded.count(0.5), "n_questions": len(verdicts) - dropped}
    if not exploded:
        return {"score": None, "ci": None, "interval": None, **counts, "dropped": dropped}
    mean, ci_2 = score.means(exploded)
    ends = [float(x) for x in ci_2]
    return {"score": mean, "ci": ends, "interval": [x - mean for x in ends], **counts, "dropped": dropped}


def _by_question(rows: Sequence[score.Battle], model: str, baseline: str) -> list[float] | None:
    if any(baseline not in (row.model_a, row.model_b) for row in rows):
        return None
    points = [50.0 if row.winner == "tie" else 100.0 * (model == getattr(row, row.winner)) for row in rows]
    found = stats.mean(points, score.SEED, groups=[row.question for row in rows])
    return [found.lo, found.hi]


def _closed_form(rows: Sequence[score.Battle], model: str, baseline: str) -> float | None:
    if any(baseline not in (row.model_a, row.model_b) for row in rows):
        return None
    won = sum(model == (row.model_a if row.winner == "model_a" else row.model_b) for row in rows if row.winner != "tie")
    return 100.0 * (won + 0.5 * sum(row.winner == "tie" for row in rows)) / len(rows)


def _nothing(row: Mapping[str, Any]) -> dict[str, Any]:
    """v0.1's figures of a model none of whose games has a verdict."""
    names = ("score", "ci", "interval", "ci_100", "ci_questions", "elo", "closed_form")
    return {} if row["version"] == "v2" else {**dict.fromkeys(names), "n_battles": 0, "n_questions": 0, "ties": 0}


def _locate(folder: Path | None) -> Path:
    for marker in (data.BATTLES, data.QUESTIONS):
        for place in (folder, folder / "arena_hard") if folder else ():
            if files.find(place / marker) or (place / data.JUDGMENTS).is_dir() or (place / data.RAW).is_dir():
                return place
    return data.locate(folder)


def _met_by_all(rows: Sequence[score.Battle], baseline: str) -> str:
    """The ``baseline``, or where no battle knows it the one model that is in all of them."""
    pairs = {frozenset((row.model_a, row.model_b)) for row in rows}
    names = frozenset[str]().union(*pairs)
    common = names.intersection(*pairs)
    return next(iter(common)) if baseline not in names and len(common) == 1 else baseline


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
