"""The chain-of-thought questions that FastEval asked, and real models' recorded answers. Nothing is scored here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter

from aiflow.bench.suites import files
from aiflow.bench.suites.cot.score import benchmark, gold_vote, options
from aiflow.errors import DataError, InputError

QUESTIONS = "questions.json"
PUBLISHED = "published_scores.json"
RECORDED = "recorded"
_REMEDY = "get it from FastEval/FastEval on GitHub (reports/cot)."


class _Question(BaseModel):
    question: str = Field(min_length=1)
    answer: str | int


_QUESTIONS = TypeAdapter(dict[str, dict[str, _Question]])
_ANSWERS = TypeAdapter(dict[str, list[tuple[str | int, str, bool | float | None]]])


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question with its right vote (see ``score``)."""

    task: str
    id: str
    text: str
    gold: str


@dataclass(frozen=True, kw_only=True)
class Said:
    """A recorded answer and the credit that was recorded with it; None: no answer had been found in it."""

    text: str
    credit: float | None


Questions = Mapping[str, Mapping[str, Question]]
"""Task -> id -> question."""
Answers = Mapping[str, Mapping[str, Said]]
"""Task -> id -> answer, of one model."""


def locate(data: Path | None) -> Path:
    """The folder with the questions: of ``data``, or above it if it is the file of one model. Raises DataError."""
    if data is not None and data.is_file():
        above = (data.parent, data.parent.parent)
        data = next((folder for folder in above if files.find(folder / QUESTIONS)), None)
    return files.locate("cot", data, QUESTIONS)


def questions(folder: Path) -> dict[str, dict[str, Question]]:
    """All questions. Raises DataError that names the file and the question."""
    path = folder / QUESTIONS
    read = files.checked(_QUESTIONS.validate_python, files.load(path, _REMEDY), str(path))
    for task in read:
        try:
            benchmark(task)
        except InputError as error:
            raise DataError(f"{path}: {error}") from error
    return {task: {name: _question(path, task, name, one) for name, one in rows.items()} for task, rows in read.items()}


def answers(folder: Path, known: Questions, only: Path | None = None) -> dict[str, Answers]:
    """The recorded answers by model, which a file ``recorded/<model>.json[.gz]`` is named after. Raises DataError.

    ``only``: the file of one model; anything else is passed over.
    """
    paths = [only] if only is not None and only.is_file() else sorted(_files(folder))
    found = {path.name.removesuffix(".gz").removesuffix(".json"): path for path in paths}
    if not found:
        raise DataError(f"{folder / RECORDED} holds no <model>.json or .json.gz; {_REMEDY}")
    return {model: _answers(path, known) for model, path in found.items()}


def published(folder: Path) -> dict[str, dict[str, Any]]:
    """The published scores by model; empty if there are none to compare with. Raises DataError."""
    path = folder / PUBLISHED
    if files.find(path) is None:
        return {}
    read: dict[str, dict[str, Any]] = files.checked(
        TypeAdapter(dict[str, dict[str, Any]]).validate_python, files.load(path), str(path)
    )
    return read


def _files(folder: Path) -> list[Path]:
    inside = (folder / RECORDED).glob("*") if (folder / RECORDED).is_dir() else ()
    return [path for path in inside if path.name.endswith((".json", ".json.gz"))]


def _question(path: Path, task: str, name: str, one: _Question) -> Question:
    gold = gold_vote(task, one.answer)
    given = options(one.question)
    choice = benchmark(task) in ("bbh", "mmlu")
    if gold is None or (choice and not given):
        told = "options '(A) text'" if gold is not None else f"right answer in {one.answer!r}"
        raise DataError(f"{path}, {task}, question {name}: no {told} can be found; mend it.")
    return Question(task=task, id=name, text=one.question, gold=gold)


def _answers(path: Path, known: Questions) -> dict[str, dict[str, Said]]:
    read = files.checked(_ANSWERS.validate_python, files.load(path, _REMEDY), str(path))
    for task, rows in read.items():
        files.unique((str(name) for name, _, _ in rows), f"{path}, {task}")
        strange = [str(name) for name, _, _ in rows if str(name) not in known.get(task, {})]
        if strange:
            raise DataError(f"{path}, {task}: answers to questions that {QUESTIONS} lacks: {', '.join(strange[:5])}.")
    return {
        task: {str(n): Said(text=text, credit=None if c is None else float(c)) for n, text, c in rows}
        for task, rows in read.items()
    }
