"""Recorded answers, and a grader that finds their recorded judgments or battles. No model is asked."""

from pathlib import Path

from aiflow.bench.suite import Grade, Judgment
from aiflow.bench.suites.arena_hard import config, data, games
from aiflow.bench.suites.replayed import Replayed
from aiflow.errors import DataError


def answers(folder: Path | None = None) -> dict[str, dict[str, tuple[str, ...]]]:
    """Model -> question id -> its recorded text, a turn each; of the judged models, unless none is.

    Raises DataError if there are no answers.
    """
    folder = data.locate(folder)
    found = data.answers(folder)
    if not found:
        raise DataError(f"{folder / data.ANSWERS} holds no answers; add <model>.jsonl files there.")
    known = set(_judged(folder)).intersection(found) or set(found)
    return {model: {name: (text,) for name, text in found[model].items()} for model in sorted(known)}


def recorded_grader(folder: Path | None = None, model: str | None = None) -> Replayed:
    """Grades a recorded answer by its recorded judgments or battles; ``model`` None: whichever model gave that answer.

    Battles hold no words: their judgments name the winner only. Raises DataError for an unknown model and, while
    grading, for a text that was not recorded; what was not judged has no score.
    """
    folder = data.locate(folder)
    given, judged = data.answers(folder), _judged(folder)
    known = {
        name: {(key, 1): (text, judged[name].get(key, Grade(score=None))) for key, text in given[name].items()}
        for name in given
        if name in judged
    }
    if not known or model not in (None, *known):
        raise DataError(f"{folder} holds no answers with judgments{f' of {model!r}' if model else ''}.")
    return Replayed(known, model)


def _judged(folder: Path) -> dict[str, dict[str, Grade]]:
    found: dict[str, dict[str, Grade]] = {}
    baseline = config.baseline(folder)
    for model, questions in data.judgments(folder).items():
        found[model] = {row.id: _grade(row) for row in questions}
    rows: dict[tuple[str, str], list[games.Verdict]] = {}
    for battle in data.battles(folder).rows:
        if baseline in (battle.model_a, battle.model_b):
            model, mine = (battle.model_b, "model_b") if battle.model_a == baseline else (battle.model_a, "model_a")
            points = 0.5 if battle.winner == "tie" else float(battle.winner == mine)
            rows.setdefault((model, battle.question), []).append(games.Verdict(points, 1))
    for (model, question), verdicts in rows.items():
        judgments = tuple(
            Judgment(judge="recorded", text="", verdict=f"{one.points:g}", score=100.0 * one.points) for one in verdicts
        )
        found.setdefault(model, {}).setdefault(question, Grade(score=games.share(verdicts), judgments=judgments))
    return found


def _grade(row: data.Judged) -> Grade:
    labels = [games.label(game, row.version) for game in row.games]
    told = tuple(
        Judgment(
            judge=row.judge,
            text=(game.judgment or "") if game else "",
            verdict=label or "",
            score=None if (one := games.verdict(label, n, row.version)) is None else 100.0 * one.points,
            label=f"game {n + 1}",
        )
        for n, (game, label) in enumerate(zip(row.games, labels, strict=True))
    )
    return Grade(score=games.share(games.verdicts(labels, row.version)), judgments=told)
