"""MT-Bench's 80 questions with what real models answered and how GPT-4 judged it, from a folder of recorded files.

Scores come from the judge's raw replies by ``aiflow.bench.judges``; nothing is scored here.
"""

import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from aiflow.bench.judges import rating
from aiflow.bench.suite import Sample
from aiflow.errors import DataError

QUESTIONS = "question.jsonl"
ANSWERS = "recorded/answers.json.gz"
REPLIES = "recorded/gpt4_judge_replies.json.gz"
PUBLISHED = "recorded/published_scores.json"
SOURCE = {
    QUESTIONS: "lm-sys/FastChat (fastchat/llm_judge/data/mt_bench/question.jsonl)",
    ANSWERS: "FastEval/FastEval on GitHub (reports/mt-bench: the models' answers, one JSON object model -> question)",
    REPLIES: "FastEval/FastEval on GitHub (reports/mt-bench: the judge's replies, one JSON object model -> list)",
    PUBLISHED: "FastEval/FastEval on GitHub (the scores that it publishes)",
}


class _Question(BaseModel):
    question_id: int
    category: str
    turns: tuple[str, ...]


class _Reply(BaseModel):
    question_id: str
    turn_number: int
    judge_reply: str


_ANSWERS = TypeAdapter(dict[str, dict[str, tuple[str, ...]]])
_REPLIES = TypeAdapter(dict[str, list[_Reply]])

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


def load(folder: Path) -> Recorded:
    """Reads the folder. Raises DataError that names the file and where to get it."""
    questions = [_parse(folder, QUESTIONS, _Question.model_validate_json, line) for line in _lines(folder)]
    answers = _parse(folder, ANSWERS, _ANSWERS.validate_json, _read(folder, ANSWERS))
    replies = _parse(folder, REPLIES, _REPLIES.validate_json, _read(folder, REPLIES))
    samples = tuple(Sample(id=str(q.question_id), category=q.category, turns=q.turns) for q in questions)
    for model, given in answers.items():
        lacking = [s.id for s in samples if len(given.get(s.id, ())) != len(s.turns)]
        if lacking or model not in replies:
            raise DataError(f"{folder / ANSWERS}: {model} lacks answers or judgments of {lacking or 'all questions'}.")
    found = {model: _ratings(samples, replies[model]) for model in answers}
    judged = tuple(s for s in samples if all(None not in row[s.id] for row in found.values()))
    ratings = {m: {s.id: tuple(r for r in row[s.id] if r is not None) for s in judged} for m, row in found.items()}
    return Recorded(samples=judged, answers=answers, ratings=ratings, dropped=len(samples) - len(judged))


def published(folder: Path) -> dict[str, float]:
    """The published score of each model, to check one's own against."""
    rows = json.loads(_read(folder, PUBLISHED))
    return {model: float(row["pub"]) for model, row in rows.items()}


def _ratings(samples: tuple[Sample, ...], replies: list[_Reply]) -> dict[str, tuple[float | None, ...]]:
    found = {(r.question_id, r.turn_number): rating(r.judge_reply) for r in replies}
    return {s.id: tuple(found.get((s.id, turn)) for turn in range(len(s.turns))) for s in samples}


def _lines(folder: Path) -> list[bytes]:
    return [line for line in _read(folder, QUESTIONS).splitlines() if line.strip()]


def _read(folder: Path, name: str) -> bytes:
    try:
        data = (folder / name).read_bytes()
        return gzip.decompress(data) if name.endswith(".gz") else data
    except FileNotFoundError:
        raise DataError(
            f"{folder / name} is missing; give the folder that holds it, or get {name} from {SOURCE[name]}."
        ) from None
    except (OSError, EOFError) as error:
        raise DataError(f"{folder / name} cannot be read ({error}); get it anew from {SOURCE[name]}.") from error


def _parse(folder: Path, name: str, parse: Any, data: bytes) -> Any:
    try:
        return parse(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{folder / name} is malformed at {place or 'its start'}: {first['msg']}.") from error
