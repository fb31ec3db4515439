"""Chain-of-thought tasks as FastEval poses them: GSM8K, MATH, BIG-Bench Hard and MMLU, with real models' answers.

``recorded`` scores the recorded texts, ``votes`` gives what each model voted for, ``suite`` asks live.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiflow.bench.suites.cot import data as _data
from aiflow.bench.suites.cot.data import Question
from aiflow.bench.suites.cot.score import BENCHMARKS, benchmark, correct, credit, extract, scores
from aiflow.bench.suites.cot.suite import suite

NAME = "cot"

__all__ = ["NAME", "Vote", "answers", "correct", "extract", "questions", "recorded", "suite", "votes"]


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What a model said to a question, the ``vote`` read from it (None: there is none), whether that is right, and
    what the benchmark gives for it (0..1; for a choice without a vote, what guessing gives).
    """

    text: str
    vote: str | None
    correct: bool
    credit: float


def questions(data: Path | None = None) -> dict[str, dict[str, Question]]:
    """Task -> id -> question with its right vote. Raises DataError."""
    return _data.questions(_data.locate(data))


def votes(data: Path | None = None) -> dict[str, dict[str, dict[str, Vote]]]:
    """Model -> task -> id -> vote, read from the recorded texts. Raises DataError."""
    folder = _data.locate(data)
    known = _data.questions(folder)
    return {model: _votes(said, known) for model, said in _data.answers(folder, known, data).items()}


def answers(data: Path | None = None) -> dict[str, dict[str, tuple[str]]]:
    """Model -> sample id of ``suite`` -> its recorded text. Raises DataError."""
    return {
        model: {f"{task}/{name}": (vote.text,) for task, rows in tasks.items() for name, vote in rows.items()}
        for model, tasks in votes(data).items()
    }


def recorded(data: Path | None = None) -> dict[str, Any]:
    """Scores of the recorded models from their texts alone, of 0..1 as published.

    Per model: ``gsm8k``, ``math``, ``bbh``, ``mmlu``, ``total``; ``n`` and ``unparsed`` texts by benchmark, how many
    questions it has no answer to (``missing``), ``disagreements`` with the recorded credits, and what is ``published``
    of it. Raises DataError.
    """
    folder = _data.locate(data)
    known = _data.questions(folder)
    published = _data.published(folder)
    models = {}
    for model, said in _data.answers(folder, known, data).items():
        found = _votes(said, known)
        models[model] = _row(found, said, known) | {"published": _told(published.get(model))}
    return {"suite": NAME, "models": models}


def _votes(said: _data.Answers, known: _data.Questions) -> dict[str, dict[str, Vote]]:
    return {
        task: {name: _vote(known[task][name], one.text) for name, one in rows.items()} for task, rows in said.items()
    }


def _vote(question: Question, text: str) -> Vote:
    vote = extract(question.task, text, question.text)
    return Vote(
        text=text,
        vote=vote,
        correct=correct(question.task, vote, question.gold),
        credit=credit(question.task, vote, question.gold, question.text),
    )


def _row(found: dict[str, dict[str, Vote]], said: _data.Answers, known: _data.Questions) -> dict[str, Any]:
    n, unparsed, missing = (dict.fromkeys(BENCHMARKS, 0) for _ in range(3))
    for task, rows in known.items():
        own = found.get(task, {})
        n[benchmark(task)] += len(own)
        missing[benchmark(task)] += len(rows) - len(own)
        unparsed[benchmark(task)] += sum(vote.vote is None for vote in own.values())
    differ = sum(
        vote.credit != (said[task][name].credit or 0.0) for task, rows in found.items() for name, vote in rows.items()
    )
    credits = {task: [vote.credit for vote in rows.values()] for task, rows in found.items()}
    return {**scores(credits), "n": n, "unparsed": unparsed, "missing": missing, "disagreements": differ}


def _told(row: dict[str, Any] | None) -> dict[str, float] | None:
    return {name: row[name] for name in (*BENCHMARKS, "total") if name in row} if row else None
