"""Arena-Hard's files: questions, answers, judge configuration, battles and raw judgments, of v0.1 and of v2's form.

Reads and checks; which verdict counts how much is ``games``' business, ratings are ``score``'s.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, model_validator

from aiflow.bench.suites import files
from aiflow.bench.suites.arena_hard.score import Battle, Winner
from aiflow.errors import DataError

Version = Literal["v0.1", "v2"]
QUESTIONS, CONFIG, BATTLES, SETTINGS = "question.jsonl", "judge_config.yaml", "battles.jsonl", "judge_utils.py"
ANSWERS, JUDGMENTS, RAW = "model_answer", "model_judgment", "raw_judgments"
BASELINE = "gpt-4-0314"
"""v0.1's, where the configuration names none."""
BASELINES = {"creative_writing": "gemini-2.0-flash-001"}
BASELINE_2 = "o3-mini-2025-01-31"
"""v2's, for all categories but those of ``BASELINES``."""
_AT = "https://raw.githubusercontent.com/lmarena/arena-hard-auto"
_1, _2 = f"{_AT}/9a6791abc5c218c57f079fd1132c367bca8a57a1", f"{_AT}/196f6b826783b3da7310e361a805fa36f0be83f3"
URLS: dict[Version, dict[str, str]] = {
    "v0.1": {
        QUESTIONS: f"{_1}/data/arena-hard-v0.1/question.jsonl",
        CONFIG: f"{_1}/config/judge_config.yaml",
        f"{ANSWERS}/{BASELINE}.jsonl": f"{_1}/data/arena-hard-v0.1/model_answer/{BASELINE}.jsonl",
    },
    "v2": {
        QUESTIONS: f"{_2}/data/arena-hard-v2.0/question.jsonl",
        CONFIG: f"{_2}/config/arena-hard-v2.0.yaml",
        SETTINGS: f"{_2}/utils/judge_utils.py",
        **{
            f"{ANSWERS}/{name}.jsonl": f"{_2}/data/arena-hard-v2.0/model_answer/{name}.jsonl"
            for name in (BASELINE_2, *BASELINES.values())
        },
    },
}
"""The official files, by their place in the folder."""
MOST = 6
"""Battles that two games on a question can be worth."""
M = TypeVar("M", bound=BaseModel)


class Question(BaseModel):
    """A line of ``question.jsonl``: ``turns`` and ``question_id`` in v0.1's form, ``prompt`` and ``uid`` in v2's."""

    id: str
    version: Version
    category: str
    subcategory: str = ""
    prompt: str

    @model_validator(mode="before")
    @classmethod
    def _read(cls, row: Any) -> Any:
        match row:
            case {"uid": str(name), "prompt": str(prompt)}:
                version = "v0.1" if row.get("category") == "arena-hard-v0.1" else "v2"
                found = {**row, "id": name, "version": version, "prompt": prompt}
            case {"question_id": str(name), "turns": [{"content": str(prompt)}]}:
                found = {**row, "id": name, "version": "v0.1", "prompt": prompt}
            case _:
                raise ValueError("it has neither question_id and one turn with content, nor uid and prompt")
        return {**found, "subcategory": row.get("subcategory") or row.get("cluster") or ""}


class AnswerRow(BaseModel):
    """A line of ``model_answer``: the model and its text."""

    id: str
    model: str
    text: str

    @model_validator(mode="before")
    @classmethod
    def _read(cls, row: Any) -> Any:
        match row:
            case {"uid": name, "model": model, "messages": [*_, {"content": {"answer": str(text)} | str(text)}]}:
                pass
            case {"question_id": name, "model_id": model, "choices": [{"turns": [{"content": str(text)}, *_]}, *_]}:
                pass
            case {"question_id": name, "model_id": model, "choices": [{"turns": [str(text), *_]}, *_]}:
                pass
            case _:
                raise ValueError("it has neither choices (v0.1) nor messages (v2) with a text")
        return {"id": name, "model": model, "text": text}


class Game(BaseModel):
    """One game as recorded: the judge's words (None: not kept) and the score that was read out of them."""

    judgment: str | None = None
    score: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, row: Any) -> Any:
        if isinstance(row, Mapping) and isinstance(words := row.get("judgment"), Mapping):
            return {**row, "judgment": words.get("answer")}
        return row


class Judged(BaseModel):
    """A line of ``model_judgment``: both games on one question. In game 1 the baseline is A, in game 2 it is B."""

    id: str
    version: Version
    category: str = ""
    model: str
    judge: str = ""
    baseline: str = ""
    games: tuple[Game | None, Game | None]

    @model_validator(mode="before")
    @classmethod
    def _read(cls, row: Any) -> Any:
        match row:
            case {"uid": name}:
                return {**row, "id": name, "version": "v2"}
            case {"question_id": name}:
                return {**row, "id": name, "version": "v0.1"}
        raise ValueError("it has neither question_id (v0.1) nor uid (v2)")


class _BattleRow(BaseModel):
    question_id: str
    model_a: str
    model_b: str
    winner: Winner | Literal["tie (bothbad)"] | None


@dataclass(frozen=True, kw_only=True)
class Battles:
    """What ``battles.jsonl`` holds; ``dropped``: model -> rows without a winner."""

    rows: tuple[Battle, ...]
    dropped: Mapping[str, int]


def locate(data: Path | None, version: Version = "v0.1") -> Path:
    """The folder that holds the questions; the official files are fetched where nothing is given or found."""
    name = "arena_hard" if version == "v0.1" else "arena_hard_v2"
    return files.locate(name, data, QUESTIONS, URLS[version])


def questions(folder: Path) -> tuple[Question, ...]:
    """In their order. Raises DataError, also for an id that comes twice."""
    path = folder / QUESTIONS
    found = tuple(row for _, row in _rows(path, Question))
    if not found:
        raise DataError(f"{path} holds no questions; get it from {URLS['v0.1'][QUESTIONS]}.")
    files.unique((question.id for question in found), str(path))
    return found


def answers(folder: Path) -> dict[str, dict[str, str]]:
    """Model -> question id -> its text, from every file of ``model_answer``. Raises DataError."""
    found: dict[str, dict[str, str]] = {}
    for path in jsonl(folder / ANSWERS):
        read = [row for _, row in _rows(path, AnswerRow)]
        files.unique((f"{row.model}, {row.id}" for row in read), str(path))
        for row in read:
            found.setdefault(row.model, {})[row.id] = row.text
    return found


def battles(folder: Path) -> Battles:
    """The battles of ``battles.jsonl``; none without that file. A row without a winner is counted. Raises DataError."""
    path, rows = folder / BATTLES, list[Battle]()
    dropped: dict[str, int] = {}
    known: Counter[tuple[str, frozenset[str]]] = Counter()
    if not files.find(path):
        return Battles(rows=(), dropped={})
    for number, row in _rows(path, _BattleRow):
        pair = row.question_id, frozenset((row.model_a, row.model_b))
        known[pair] += 1
        if row.model_a == row.model_b:
            raise DataError(f"{path}:{number} is a battle of {row.model_a!r} against itself; remove it.")
        if known[pair] > MOST:
            told = f"more than {MOST} battles of {row.model_a} and {row.model_b} on question {row.question_id}"
            raise DataError(f"{path}:{number}: {told}; two games give no more, remove what stands there twice.")
        if row.winner is None:
            for model in (row.model_a, row.model_b):
                dropped[model] = dropped.get(model, 0) + 1
            continue
        winner: Winner = "tie" if row.winner == "tie (bothbad)" else row.winner
        rows.append(Battle(question=row.question_id, model_a=row.model_a, model_b=row.model_b, winner=winner))
    return Battles(rows=tuple(rows), dropped=dropped)


def judgments(folder: Path) -> dict[str, list[Judged]]:
    """Model -> its judged questions, from ``model_judgment/<judge>`` and ``raw_judgments``. Raises DataError.

    A model that several judges judged is named after each but the first, e.g. ``qwq-32b (gpt-4.1)``.
    """
    found: dict[str, list[Judged]] = {}
    judges: dict[str, str] = {}
    for path in [p for inner in sorted((folder / JUDGMENTS).glob("*/")) for p in jsonl(inner)] + jsonl(folder / RAW):
        named = path.parent.name if path.parent.parent.name == JUDGMENTS else ""
        for _, row in _rows(path, Judged):
            judge = row.judge or named
            own = judges.setdefault(row.model, judge) == judge
            found.setdefault(row.model if own else f"{row.model} ({judge})", []).append(row)
    for model, rows in found.items():
        files.unique((row.id for row in rows), f"the judgments of {model} in {folder}")
    return found


def jsonl(folder: Path) -> list[Path]:
    """The files of a folder, packed or not, in alphabetical order and by their plain names."""
    return sorted({p.with_name(p.name.removesuffix(".gz")) for p in folder.glob("*.jsonl*") if p.is_file()})


def _rows(path: Path, model: type[M]) -> Iterator[tuple[int, M]]:
    for number, row in files.rows(path):
        yield number, files.checked(model.model_validate, row, f"{path}:{number}")
