"""FastChat's own files in an MT-Bench folder: ``model_answer/<model>.jsonl``, ``model_judgment/<judge>_single.jsonl``
and ``model_judgment/<judge>_pair.jsonl``.

Reads and checks; scores nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, FiniteFloat

from aiflow.bench.judges import rating
from aiflow.bench.suites import files
from aiflow.bench.suites.mt_bench.data import AnswerRow
from aiflow.bench.suites.mt_bench.score import GameWinner, Pair
from aiflow.errors import DataError

M = TypeVar("M", bound=BaseModel)


class _SingleRow(BaseModel):
    question_id: int | str
    model: str
    turn: int
    judgment: str | None = None
    score: FiniteFloat | None = None


class _PairRow(BaseModel):
    question_id: int | str
    model_1: str
    model_2: str
    g1_winner: GameWinner
    g2_winner: GameWinner
    turn: int


@dataclass(frozen=True, kw_only=True)
class Single:
    """A judged answer: the ``value`` read out of the judge's words, the ``recorded`` one (None for -1), the words."""

    question: str
    turn: int
    value: float | None
    recorded: float | None
    text: str


def answers(folder: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    """Model -> question id -> its texts, from ``model_answer``; empty without that folder. Raises DataError."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for path in _jsonl(folder / "model_answer"):
        name = path.name.removesuffix(".gz").removesuffix(".jsonl")
        read = list(_rows(path, AnswerRow))
        files.unique((str(row.question_id) for _, row in read), str(path))
        for number, row in read:
            if not row.choices:
                raise DataError(f"{path}:{number} holds no answer; remove the line or answer the question.")
            found.setdefault(row.model_id or name, {})[str(row.question_id)] = row.choices[0].turns
    return found


def singles(folder: Path) -> dict[str, dict[str, list[Single]]]:
    """Judge -> model -> judged answers, from every ``<judge>_single.jsonl``. Raises DataError.

    The rating is read anew from the judge's words; where only the score was kept, that is taken.
    """
    found: dict[str, dict[str, list[Single]]] = {}
    for path in _jsonl(folder / "model_judgment", "_single"):
        read = list(_rows(path, _SingleRow))
        files.unique((f"{row.model}, question {row.question_id}, turn {row.turn}" for _, row in read), str(path))
        models = found.setdefault(_judge(path, "_single"), {})
        for number, row in read:
            if row.judgment is None and row.score is None:
                raise DataError(f"{path}:{number} has neither judgment nor score; remove the line.")
            score = None if row.score is None or row.score < 0 else row.score
            value = score if row.judgment is None else rating(row.judgment)
            said = Single(
                question=str(row.question_id), turn=row.turn, value=value, recorded=score, text=row.judgment or ""
            )
            models.setdefault(row.model, []).append(said)
    return found


def pairs(folder: Path) -> dict[str, list[Pair]]:
    """Judge -> judged pairs, from every ``<judge>_pair.jsonl``. Raises DataError."""
    found = {}
    for path in _jsonl(folder / "model_judgment", "_pair"):
        read = [row for _, row in _rows(path, _PairRow)]
        ids = (f"{row.model_1} / {row.model_2}, question {row.question_id}, turn {row.turn}" for row in read)
        files.unique(ids, str(path))
        found[_judge(path, "_pair")] = [
            Pair(model_1=row.model_1, model_2=row.model_2, first=row.g1_winner, second=row.g2_winner) for row in read
        ]
    return found


def _rows(path: Path, model: type[M]) -> Iterator[tuple[int, M]]:
    for number, row in files.rows(path):
        yield number, files.checked(model.model_validate, row, f"{path}:{number}")


def _jsonl(folder: Path, ending: str = "") -> list[Path]:
    """The files of a folder, packed or not, in alphabetical order and by their plain names."""
    found = {p.with_name(p.name.removesuffix(".gz")) for p in folder.glob(f"*{ending}.jsonl*") if p.is_file()}
    return sorted(path for path in found if path.name.endswith(f"{ending}.jsonl"))


def _judge(path: Path, ending: str) -> str:
    return path.name.removesuffix(".gz").removesuffix(f"{ending}.jsonl")
