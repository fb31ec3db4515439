"""Files of recorded answers, in the forms that benchmarks publish, plain or ``.gz``:

- FastChat's ``model_answer/<model>.jsonl`` (lines of ``{"question_id", "choices": [{"turns": [...]}]}``), with the
  questions in ``question.jsonl``;
- AlpacaEval's ``model_outputs.json`` (``[{"instruction", "output", "generator"}]``), or an extract of it
  (``[{"i", "output"}]``) with the ``instructions`` in ``annotations.json``;
- ``{model: {question id: [answer to turn 1, to turn 2]}}``, questions in ``questions_with_refs.json``.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from aiflow.agents.backends.files import load
from aiflow.errors import DataError, UnknownModelError, suggest

Turns = tuple[str, ...]
_QUESTIONS = ("questions_with_refs.json", "question.jsonl", "annotations.json")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One model's answers: (questions, answers) turn by turn, by the first question with white space made one."""

    model: str
    entries: dict[str, tuple[Turns, Turns]]

    def find(self, question: str) -> tuple[Turns, Turns] | None:
        """The turns of the conversation that begins with ``question``."""
        return self.entries.get(_key(question))


@dataclass(frozen=True, kw_only=True)
class _Row:
    model: str
    question: str  # its id
    answers: Turns
    asked: Turns | None = None  # None: stands in the file of questions


def read(path: str, model: str, questions: str | os.PathLike[str] | None = None) -> Recording:
    """Reads the answers of ``model`` (empty: of the only one). Raises DataError, UnknownModelError."""
    file = Path(path).expanduser()
    rows = list(_rows(file, load(file)))
    models = sorted({row.model for row in rows})
    if not models:
        raise DataError(f"{file} holds no answers; give the path of recorded answers.")
    model = model or (models[0] if len(models) == 1 else "")
    if model not in models:
        raise UnknownModelError(f"{file} has no model {model!r} (after '#'); {suggest(model, models)}")
    mine = [row for row in rows if row.model == model]
    asked = {} if all(row.asked for row in mine) else _questions(file, questions)
    for row in mine:
        if not row.asked and row.question not in asked:
            raise DataError(f"{file}: no question has the id {row.question!r}; name the right file with questions=.")
    turns = [(row.asked or asked[row.question], row.answers) for row in mine]
    return Recording(model=model, entries={_key(questions[0]): (questions, answers) for questions, answers in turns})


def _rows(file: Path, data: Any) -> Iterator[_Row]:
    own = file.name.split(".json")[0]
    if isinstance(data, dict):
        for model, answers in data.items():
            if not isinstance(answers, dict):
                _bad(file, model, "an object from question id to answers")
            for key, turns in answers.items():
                yield _Row(model=model, question=key, answers=_turns(file, f"{model}, {key}", turns))
        return
    for number, row in enumerate(data, 1):
        match row:
            case {"question_id": key, "choices": [{"turns": turns}, *_]}:
                model = str(row.get("model_id", own))
                yield _Row(model=model, question=str(key), answers=_turns(file, number, turns))
            case {"instruction": str(question), "output": str(answer)}:
                model = str(row.get("generator", own))
                yield _Row(model=model, question=str(number), answers=(answer,), asked=(question,))
            case {"i": int(index), "output": str(answer)}:
                yield _Row(model=own, question=str(index), answers=(answer,))
            case _:
                _bad(file, number, "a recorded answer ('question_id' and 'choices', or 'instruction' and 'output')")


def _questions(file: Path, given: str | os.PathLike[str] | None) -> dict[str, Turns]:
    folders = (file.parent, file.parent.parent)
    beside = [folder / (name + zipped) for folder in folders for name in _QUESTIONS for zipped in ("", ".gz")]
    source = Path(given).expanduser() if given else next((p for p in beside if p.is_file()), None)
    if source is None:
        raise DataError(f"{file} holds answers without questions; name their file with questions='question.jsonl'.")
    data = load(source)
    if isinstance(data, dict) and "instructions" in data:
        return {str(n): _turns(source, n, [text]) for n, text in enumerate(data["instructions"])}
    rows = data.items() if isinstance(data, dict) else ((_id(source, n, row), row) for n, row in enumerate(data, 1))
    return {str(key): _turns(source, key, row.get("turns") if isinstance(row, dict) else None) for key, row in rows}


def _id(file: Path, number: int, row: Any) -> str:
    if not isinstance(row, dict) or "question_id" not in row:
        _bad(file, number, "a question ('question_id' and 'turns')")
    return str(row["question_id"])


def _turns(file: Path, place: Any, turns: Any) -> Turns:
    texts = isinstance(turns, Sequence) and not isinstance(turns, str) and all(isinstance(t, str) for t in turns)
    if not texts or not turns:
        _bad(file, place, "a list of texts, one for each turn")
    return tuple(turns)


def _bad(file: Path, place: Any, expected: str) -> NoReturn:
    where = f"line {place}" if isinstance(place, int) else str(place)
    raise DataError(f"{file}, {where}: expected {expected}.")


def _key(question: str) -> str:
    return " ".join(question.split())
