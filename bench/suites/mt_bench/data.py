"""MT-Bench's 80 questions and references, and what real models answered and how GPT-4 judged it, from a folder.

The questions are FastChat's, the recorded answers and judgments FastEval's; FastChat's own answers and judgments are
read by ``fastchat``. Scores come from the judge's raw replies by ``aiflow.bench.judges``; nothing is scored here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, TypeAdapter

from aiflow.bench.judges import rating
from aiflow.bench.suite import Sample
from aiflow.bench.suites import files
from aiflow.errors import DataError

QUESTIONS = "question.jsonl"
REFERENCES = "reference_answer/gpt-4.jsonl"
PROMPTS = "judge_prompts.jsonl"
ANSWERS = "recorded/answers.json.gz"
REPLIES = "recorded/gpt4_judge_replies.json.gz"
PUBLISHED = "recorded/published_scores.json"
WITH_REFERENCES = "recorded/questions_with_refs.json"
_RAW = "https://raw.githubusercontent.com/lm-sys/FastChat/main/fastchat/llm_judge/data"
URLS = {
    QUESTIONS: f"{_RAW}/mt_bench/question.jsonl",
    REFERENCES: f"{_RAW}/mt_bench/reference_answer/gpt-4.jsonl",
    PROMPTS: f"{_RAW}/judge_prompts.jsonl",
}
"""The official files, by their place in the folder."""
SOURCE = {
    **{name: f"lm-sys/FastChat ({url})" for name, url in URLS.items()},
    ANSWERS: "FastEval/FastEval on GitHub (reports/mt-bench: the models' answers, one JSON object model -> question)",
    REPLIES: "FastEval/FastEval on GitHub (reports/mt-bench: the judge's replies, one JSON object model -> list)",
    PUBLISHED: "FastEval/FastEval on GitHub (the scores that it publishes)",
}


class Question(BaseModel):
    """A line of ``question.jsonl``; its own ``reference`` is not the one that judges see."""

    question_id: int | str
    category: str
    turns: tuple[str, ...]
    required_temperature: float | None = None

    @property
    def id(self) -> str:
        """As text."""
        return str(self.question_id)


class Reply(BaseModel):
    """What the judge said of the answer to a turn, 0 or 1; None: nothing."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    question_id: str
    turn_number: int
    judge_reply: str | None


class Choice(BaseModel):
    """The texts of one answer, a turn each."""

    turns: tuple[str, ...]


class AnswerRow(BaseModel):
    """A line of FastChat's answers; only the first choice counts."""

    question_id: int | str
    model_id: str = ""
    choices: tuple[Choice, ...]


class _Referenced(BaseModel):
    reference: tuple[str, ...] = ()


class _Score(BaseModel):
    pub: FiniteFloat


_ANSWERS = TypeAdapter(dict[str, dict[str, tuple[str, ...]]])
_REPLIES = TypeAdapter(dict[str, list[Reply]])
_REFERENCED = TypeAdapter(dict[str, _Referenced])
_OBJECTS = TypeAdapter(dict[str, dict[str, Any]])
_PUBLISHED = TypeAdapter(dict[str, _Score])

Answers = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Model -> question id -> its texts, a turn each."""
Ratings = Mapping[str, Mapping[str, tuple[float, ...]]]
"""Model -> question id -> the judge's ratings of 1..10, a turn each."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The questions, and the answers and ratings of every recorded model."""

    samples: tuple[Sample, ...]
    answers: Answers
    ratings: Ratings
    dropped: int = 0  # questions left out, because a judgment of some model's answer holds no rating

    @property
    def models(self) -> tuple[str, ...]:
        """In alphabetical order."""
        return tuple(sorted(self.answers))

    def mean(self, model: str) -> float:
        """MT-Bench's score of a model: the mean of all its ratings."""
        known = [rating for row in self.ratings[model].values() for rating in row]
        return sum(known) / len(known)


def default_folder() -> Path:
    """``$AIFLOW_DATA/mt_bench``, else ``../shared/data/mt_bench`` beside the checkout."""
    data = os.environ.get("AIFLOW_DATA")
    beside = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    return (Path(data) if data else beside) / "mt_bench"


def find(folder: Path) -> Path:
    """The folder itself, or its ``mt_bench`` where the questions lie in that one."""
    inner = folder / "mt_bench"
    return inner if (inner / QUESTIONS).is_file() and not (folder / QUESTIONS).is_file() else folder


def locate(data: Path | None) -> Path:
    """The folder that holds the questions, FastChat's or FastEval's; fetched where nothing is given or found."""
    for folder in (data, data / "mt_bench") if data else ():
        if files.find(folder / WITH_REFERENCES) and not files.find(folder / QUESTIONS):
            return folder
    return files.locate("mt_bench", data, QUESTIONS, URLS)


def load(folder: Path) -> Recorded:
    """Reads questions, answers and ratings, all of them complete. Raises DataError that names the file and its source.

    For scores of models whose judgments are incomplete see ``aiflow.bench.suites.mt_bench.recorded``.
    """
    asked = questions(folder)
    answers, replies = recorded_answers(folder), recorded_replies(folder)
    samples = tuple(Sample(id=q.id, category=q.category, turns=q.turns) for q in asked)
    for model, given in answers.items():
        lacking = [s.id for s in samples if len(given.get(s.id, ())) != len(s.turns)]
        if lacking or model not in replies:
            raise DataError(f"{folder / ANSWERS}: {model} lacks answers or judgments of {lacking or 'all questions'}.")
    found = {model: _ratings(samples, replies[model]) for model in answers}
    judged = tuple(s for s in samples if all(None not in row[s.id] for row in found.values()))
    ratings = {m: {s.id: tuple(r for r in row[s.id] if r is not None) for s in judged} for m, row in found.items()}
    return Recorded(samples=judged, answers=answers, ratings=ratings, dropped=len(samples) - len(judged))


def questions(folder: Path) -> tuple[Question, ...]:
    """In their order; FastEval's where FastChat's file is absent. Raises DataError, also for an id that comes twice."""
    path = _path(folder, QUESTIONS)
    if files.find(path) or not has(folder, WITH_REFERENCES):
        rows = [(f"{path}:{number}", row) for number, row in files.rows(path, _remedy(QUESTIONS))]
    else:
        path = _path(folder, WITH_REFERENCES)
        known = files.checked(_OBJECTS.validate_python, files.load(path), str(path))
        rows = [(f"{path}: {name}", {**row, "question_id": name}) for name, row in known.items()]
    found = tuple(files.checked(Question.model_validate, row, where) for where, row in rows)
    if not found:
        raise DataError(f"{path} holds no questions; {_remedy(QUESTIONS)}.")
    files.unique((question.id for question in found), str(path))
    return found


def references(folder: Path) -> dict[str, tuple[str, ...]]:
    """Question id -> the reference answer to each turn: GPT-4's, which judges are shown; empty where none are there."""
    path = _path(folder, REFERENCES)
    if files.find(path):
        rows = files.rows(path)
        read = [files.checked(AnswerRow.model_validate, row, f"{path}:{number}") for number, row in rows]
        return {str(row.question_id): row.choices[0].turns for row in read if row.choices}
    path = _path(folder, WITH_REFERENCES)
    if not files.find(path):
        return {}
    known = files.checked(_REFERENCED.validate_python, files.load(path), str(path))
    return {name: row.reference for name, row in known.items() if row.reference}


def recorded_answers(folder: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    """Model -> question id -> its texts, as FastEval records them. Raises DataError."""
    path = _path(folder, ANSWERS)
    return files.checked(_ANSWERS.validate_python, files.load(path, _remedy(ANSWERS)), str(path))


def recorded_replies(folder: Path) -> dict[str, list[Reply]]:
    """Model -> the judge's replies, as FastEval records them. Raises DataError."""
    path = _path(folder, REPLIES)
    return files.checked(_REPLIES.validate_python, files.load(path, _remedy(REPLIES)), str(path))


def published(folder: Path) -> dict[str, float]:
    """The published score of each model, to check one's own against. Raises DataError."""
    path = _path(folder, PUBLISHED)
    rows = files.checked(_PUBLISHED.validate_python, files.load(path, _remedy(PUBLISHED)), str(path))
    return {model: row.pub for model, row in rows.items()}


def has(folder: Path, name: str) -> bool:
    """Whether the folder holds the file, plain or packed."""
    return files.find(_path(folder, name)) is not None


def _ratings(samples: tuple[Sample, ...], replies: list[Reply]) -> dict[str, tuple[float | None, ...]]:
    found = {(r.question_id, r.turn_number): rating(r.judge_reply or "") for r in replies}
    return {s.id: tuple(found.get((s.id, turn)) for turn in range(len(s.turns))) for s in samples}


def _path(folder: Path, name: str) -> Path:
    """Without ``.gz`` where the plain file is there."""
    plain = folder / name.removesuffix(".gz")
    return plain if plain.is_file() else folder / name


def _remedy(name: str) -> str:
    return f"give the folder that holds it, or get {name} from {SOURCE[name]}"
