"""Recorded answers, and a grader that finds their recorded judgments or battles. No model is asked."""

from collections.abc import Sequence
from pathlib import Path

from aiflow.bench.suite import Grade, Grader, Judgment, Sample
from aiflow.bench.suites.arena_hard import config, data, games
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


def recorded_grader(folder: Path | None = None, model: str | None = None) -> Grader:
    """Grades a recorded answer by its recorded judgments or battles; ``model`` None: whichever model gave that answer.

    Battles hold no words: their judgments name the winner only. Raises DataError for an unknown model and, while
    grading, for a text that was not recorded; what was not judged has no score.
    """
    folder = data.locate(folder)
    given, judged = data.answers(folder), _judged(folder)
    models = [name for name in ([model] if model is not None else given) if name in given and name in judged]
    if not models:
        raise DataError(f"{folder} holds no answers with judgments{f' of {model!r}' if model else ''}.")

    async def grade(sample: Sample, said: Sequence[str]) -> Grade:
        authors = [name for name in models if given[name].get(sample.id) == said[-1]]
        if not authors:
            who = f"{model} did not give" if model else "no recorded model gave"
            raise DataError(f"{who} this answer to question {sample.id}.")
        found = [judged[name][sample.id] for name in authors if sample.id in judged[name]]
        scores = [one.score for one in found if one.score is not None]
        told = tuple(judgment for one in found for judgment in one.judgments)
        return Grade(score=sum(scores) / len(scores) if scores else None, judgments=told)

    return grade


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
