"""Scores of recorded models, and a grader that finds the recorded judgment of a recorded answer. No model is asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiflow.bench.judges import rating
from aiflow.bench.suite import Grade, Judgment
from aiflow.bench.suites.mt_bench import data, fastchat, score
from aiflow.bench.suites.replayed import Replayed
from aiflow.errors import DataError

BASELINE = "gpt-3.5-turbo"
"""FastChat's; where no pair names it, all pairs count."""
JUDGE = "gpt-4"

NAME = "mt-bench"
Judged = Mapping[tuple[str, int], fastchat.Single]
"""(question id, turn 1 or 2) -> what the judge said."""


def recorded(folder: Path | None = None) -> dict[str, Any]:
    """The published figures of every recorded model, complete or not, from the judge's raw words. Raises DataError.

    ``mismatches`` counts recorded scores that differ from the rating in the judge's words.
    """
    folder = data.locate(folder)
    questions = {question.id: question for question in data.questions(folder)}
    known = data.published(folder) if data.has(folder, data.PUBLISHED) else {}
    expected = sum(len(question.turns) for question in questions.values())
    found: dict[str, dict[str, Any]] = {}
    for model, judged in judgments(folder).items():
        ratings = [
            score.Rated(question=q, category=questions[q].category, turn=turn, value=said.value)
            for (q, turn), said in judged.items()
        ]
        row = score.figures(ratings, expected)
        row["mismatches"] = sum(said.recorded != said.value for said in judged.values())
        if model in known:
            row["published"] = known[model]
            row["difference"] = None if row["average"] is None else row["average"] - known[model]
        found[model] = row
    for model, pair in _pairs(folder).items():
        found.setdefault(model, {})["pairwise"] = pair
    if not found:
        raise DataError(f"{folder} holds no judgments; add {data.REPLIES} or model_judgment/<judge>_single.jsonl.")
    return {"suite": NAME, "models": found}


def judgments(folder: Path) -> dict[str, Judged]:
    """Model -> what the judge said of each of its answers: FastEval's replies and FastChat's single ratings.

    A model that comes again from another judge's file is named after both. Raises DataError.
    """
    questions = {question.id: question for question in data.questions(folder)}
    found: dict[str, Judged] = {}
    singles = fastchat.singles(folder)
    if data.has(folder, data.REPLIES) or not (singles or fastchat.pairs(folder)):
        for model, replies in data.recorded_replies(folder).items():
            said = [_single(reply) for reply in replies]
            found[model] = _index(f"{folder / data.REPLIES}: {model}", questions, said)
    for judge, models in singles.items():
        for model, answers in models.items():
            name = f"{model} ({judge})" if model in found else model
            where = f"{folder / 'model_judgment'}/{judge}_single.jsonl: {model}"
            found[name] = _index(where, questions, answers)
    return found


def answers(folder: Path | None = None) -> dict[str, dict[str, tuple[str, ...]]]:
    """Model -> question id -> its recorded texts. Raises DataError if there are none."""
    folder = data.locate(folder)
    own = fastchat.answers(folder)
    return own if own and not data.has(folder, data.ANSWERS) else {**own, **data.recorded_answers(folder)}


def recorded_grader(folder: Path | None = None, model: str | None = None) -> Replayed:
    """Grades a recorded answer by its recorded judgment; ``model`` None: whichever recorded model gave that answer.

    Raises DataError for an unknown model and, while grading, for a text that was not recorded.
    """
    folder = data.locate(folder)
    given, judged = answers(folder), judgments(folder)
    known = {
        name: {
            (question, turn): (text, _grade(judged[name].get((question, turn)), turn))
            for question, texts in given[name].items()
            for turn, text in enumerate(texts, 1)
        }
        for name in given
        if name in judged
    }
    if model is not None and model not in known:
        raise DataError(f"{folder} holds no answers and judgments of {model!r}; use one of {', '.join(sorted(known))}.")
    return Replayed(known, model)


def _grade(said: fastchat.Single | None, turn: int) -> Grade:
    """Without a score where the answer was not judged, or no rating could be read."""
    if said is None:
        return Grade(score=None)
    verdict = "" if said.value is None else f"{said.value:g}"
    told = Judgment(judge=JUDGE, text=said.text, verdict=verdict, score=said.value, label=f"turn {turn}")
    return Grade(score=said.value, judgments=(told,))


def _single(reply: data.Reply) -> fastchat.Single:
    text = reply.judge_reply or ""
    value = rating(text)
    turn = reply.turn_number + 1
    return fastchat.Single(question=reply.question_id, turn=turn, value=value, recorded=value, text=text)


def _index(where: str, questions: Mapping[str, data.Question], said: Sequence[fastchat.Single]) -> Judged:
    found: dict[tuple[str, int], fastchat.Single] = {}
    for one in said:
        if one.question not in questions:
            raise DataError(f"{where} was judged on question {one.question!r}, which {data.QUESTIONS} lacks.")
        if not 1 <= one.turn <= len(questions[one.question].turns):
            raise DataError(f"{where} was judged on turn {one.turn} of question {one.question}, which is not there.")
        if (one.question, one.turn) in found:
            raise DataError(f"{where} was judged twice on question {one.question}, turn {one.turn}; remove one.")
        found[one.question, one.turn] = one
    return found


def _pairs(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for judge, pairs in fastchat.pairs(folder).items():
        named = any(BASELINE in (pair.model_1, pair.model_2) for pair in pairs)
        for model, row in score.pairwise(pairs, BASELINE if named else None).items():
            name = f"{model} ({judge})" if model in found else model
            found[name] = {**row, "baseline": BASELINE if named else None}
    return found
