"""The problems of GSM8K, MATH-500 and AIME 2024, and GSM8K's recorded solutions of four models, from their files.

Official forms: GSM8K's ``test.jsonl``; a JSON line of problem, solution and answer for the others. Nothing is scored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from aiflow.bench.suites import files
from aiflow.bench.suites.maths import extract
from aiflow.errors import DataError, InputError, suggest

EXAMPLES = ("example_model_solutions_4models.jsonl", "example_model_solutions.jsonl")
"""OpenAI's file, models' solutions and verdicts beside each of GSM8K's test problems; the second name is its own."""
_GSM8K = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/"
_MATH = "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl"


@dataclass(frozen=True)
class Source:
    """The folder of a suite, its file there, and where that can be fetched."""

    folder: str
    file: str
    urls: Mapping[str, str]


SOURCES: Mapping[str, Source] = {
    "gsm8k": Source("gsm8k", "test.jsonl", {"test.jsonl": _GSM8K + "test.jsonl"}),
    "math-500": Source("math", "math500.jsonl", {"math500.jsonl": _MATH}),
    "aime-2024": Source("math", "aime2024.jsonl", {}),
}


class _Grade(BaseModel):
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)


class _Contest(BaseModel):
    problem: str = Field(min_length=1)
    solution: str = ""
    answer: str | int
    subject: str = ""
    level: int | str = ""
    id: int | str | None = None
    unique_id: str | None = None


class _Solution(BaseModel):
    solution: str
    is_correct: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem with its worked solution and its final answer."""

    id: str
    text: str
    solution: str
    answer: str
    category: str


@dataclass(frozen=True, kw_only=True)
class Solved:
    """A recorded solution, the gold text beside it, and the verdict recorded with it, if any."""

    question: str
    text: str
    gold: str
    correct: bool | None


def spelled(name: str) -> str:
    """The name of the suite that is meant by a spelling such as ``AIME 2024``; another name as it stands."""
    letters = re.sub("[^a-z0-9]", "", name.lower())
    return next((known for known in SOURCES if known.replace("-", "") == letters), name)


def source(name: str) -> Source:
    """Raises InputError for a suite that is none of these."""
    if name not in SOURCES:
        raise InputError(f"{name!r} is no maths suite; {suggest(name, list(SOURCES))}")
    return SOURCES[name]


def problems(name: str, data: Path | None = None) -> tuple[Problem, ...]:
    """Of a folder or of the very file. Raises DataError, also for a problem without a final answer."""
    where = source(name)
    if data is not None and data.is_file():
        path = data
    else:
        path = files.locate(where.folder, data, where.file, where.urls) / where.file
    read = _grade if name == "gsm8k" else _contest
    found = tuple(read(row, f"{path}:{line}", n) for n, (line, row) in enumerate(files.rows(path)))
    if not found:
        raise DataError(f"{path} holds no problems; get it anew.")
    files.unique((problem.id for problem in found), str(path))
    files.unique((f"{problem.text} {problem.solution}" for problem in found), str(path))
    return found


def _grade(row: Any, where: str, number: int) -> Problem:
    read = files.checked(_Grade.model_validate, row, where)
    answer = extract.number(read.answer.rpartition("####")[2]) if "####" in read.answer else None
    if answer is None:
        raise DataError(f"{where}: the answer has no number after '####'; every GSM8K answer ends with one.")
    return Problem(id=str(number), text=read.question, solution=read.answer, answer=answer, category="gsm8k")


def _contest(row: Any, where: str, number: int) -> Problem:
    read = files.checked(_Contest.model_validate, row, where)
    answer = str(read.answer).strip()
    if not answer:
        raise DataError(f"{where}: the answer is empty; remove the problem or give its answer.")
    name = read.unique_id or (str(number) if read.id is None else str(read.id))
    return Problem(
        id=name, text=read.problem, solution=read.solution, answer=answer, category=read.subject or "competition"
    )


def has_problems(name: str, data: Path | None) -> bool:
    """Whether the suite's problems lie in a folder that was given, or nothing was given (they may be fetched)."""
    where = source(name)
    inside = [] if data is None else [data / where.file, data / where.folder / where.file]
    return data is None or any(files.find(path) for path in inside)


def _examples(data: Path | None) -> Path:
    given = [] if data is None else [folder / name for folder in (data, data / "gsm8k") for name in EXAMPLES]
    for path in given:
        if files.find(path):
            return path
    return files.locate("gsm8k", data, EXAMPLES[0], {EXAMPLES[0]: _GSM8K + EXAMPLES[1]}) / EXAMPLES[0]


def recorded(data: Path | None = None) -> dict[str, tuple[Solved, ...]]:
    """GSM8K's recorded solutions by model, from OpenAI's file or a folder that holds it. Raises DataError."""
    path = data if data is not None and data.is_file() else _examples(data)
    models: dict[str, list[Solved]] = {}
    count, asked = 0, list[str]()
    for line, row in files.rows(path):
        count += 1
        where = f"{path}:{line}"
        gold = row.get("ground_truth") if isinstance(row, dict) else None
        if not isinstance(gold, str) or extract.gsm8k(gold) is None:
            raise DataError(f"{where} has no ground_truth with a number; give GSM8K's example_model_solutions.")
        question = str(row.get("question", ""))
        asked.append(str(row))
        for model in row.keys() - {"question", "ground_truth"}:
            read = files.checked(_Solution.model_validate, row[model], f"{where}, {model}")
            found = Solved(question=question, text=read.solution, gold=gold, correct=read.is_correct)
            models.setdefault(model, []).append(found)
    files.unique(asked, str(path))
    short = [model for model, found in models.items() if len(found) != count]
    if not models or short:
        told = f"{', '.join(short)} solved not all {count} problems" if short else "it holds no model's solutions"
        raise DataError(f"{path}: {told}; get it anew.")
    return {model: tuple(models[model]) for model in sorted(models)}
