"""Questions about images, with their gold and what recorded models answered, from any of the forms they come in.

VLMEvalKit's TSV and its exports of predictions; recorded JSON lines (``prediction``: model -> text); MMMU's and
OCRBench's own JSON. Nothing is scored here, and images are decoded only where they are asked for.
"""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiflow.bench.suites import files
from aiflow.bench.suites.vqa.pictures import embedded, pictures
from aiflow.bench.suites.vqa.rows import Row, rows
from aiflow.bench.suites.vqa.text import golds
from aiflow.errors import DataError

MISSING = "nan"
"""What VLMEvalKit makes of a missing text, and scores."""
_NAMES = {
    "id": ("index", "id", "question_id"),
    "question": ("question",),
    "answer": ("answer", "answers"),
    "category": ("category", "field", "type"),
    "prediction": ("prediction", "responses", "response"),
    "image": ("image_path", "image_files", "image"),
}
_LISTED = re.compile(r"^([A-Z])\. ", re.MULTILINE)
_FOUND = frozenset({"hit", "score", "extracted", "log"})  # what an earlier scoring left there
_KEPT = _FOUND.union({"options", "options_text", "hint", "split"}, *_NAMES.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A question. ``options``: letter -> text; ``answer``: as the file holds it (see ``golds``), ``nan`` if not at all.

    ``said``: model -> its answer, None where it is missing; ``hits``: model -> the score that the file holds.
    ``data``: all other columns, by their names in lower case; ``image`` names what the question is about.
    """

    id: str
    question: str
    answer: str
    options: Mapping[str, str] = field(default_factory=dict)
    category: str = ""
    split: str = ""
    hint: str = ""
    image: str = ""
    images: tuple[Path | bytes, ...] = field(default=(), repr=False)
    said: Mapping[str, str | None] = field(default_factory=dict)
    hits: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def right(self) -> tuple[str, ...]:
        """All right answers."""
        return golds(self.answer)


def read(
    path: Path, model: str = "", needs: Sequence[str] = ("question", "answer"), images: bool = False
) -> list[Item]:
    """The questions in a file, in its order; with ``images`` these too, where they are (see ``pictures``).

    ``model`` names the answers of a file that holds one model's only; else the file's name does. Raises DataError for
    columns of ``needs`` that are missing, an id that comes twice, or an image that is no base64.
    """
    found = [(where, embedded(where, _lower(row), images)) for where, row in rows(path)]
    if not found:
        raise DataError(f"{path} holds no questions; get it anew.")
    _check(path, {name for _, row in found for name, value in row.items() if value is not None}, needs)
    told = [_first(row, "prediction") for _, row in found]
    alone = not any(isinstance(text, dict) for text in told) and any(text is not None for text in told)
    own = (model or path.name.split(".")[0]) if alone else ""
    ids = [_id(where, number, row) for number, (where, row) in enumerate(found)]
    files.unique(ids, str(path))
    held = pictures(path, ids, found) if images else {}
    return [_item(where, name, row, own, held.get(name, ())) for name, (where, row) in zip(ids, found, strict=True)]


def _check(path: Path, present: set[str], needs: Sequence[str]) -> None:
    lacking = [name for name in needs if not present.intersection((name, *_NAMES.get(name, ())))]
    if "options" in lacking and present.intersection((*string.ascii_uppercase, "options_text")):
        lacking.remove("options")
    if lacking:
        told = "; a test split without its answers cannot be scored" if "answer" in lacking else ""
        has = ", ".join(map(repr, sorted(present))) or "nothing"
        raise DataError(f"{path} lacks the column {', '.join(map(repr, lacking))}; it has {has}{told}.")


def _lower(row: Row) -> Row:
    return {name if len(name) == 1 and name.isupper() else name.lower(): value for name, value in row.items()}


def _id(where: str, number: int, row: Row) -> str:
    """OCRBench's own ids come twice, and what has none is numbered."""
    if "dataset_name" in row or not any(name in row for name in _NAMES["id"]):
        return str(number)
    found = _text(row, "id")
    if not found:
        raise DataError(f"{where} has no index; give each question its own.")
    return found.removesuffix(".0")


def _item(where: str, name: str, row: Row, model: str, images: tuple[Path | bytes, ...]) -> Item:
    embeds = isinstance(row.get("image"), tuple) and not row.get("image_path")
    hits = _by_model(row.get("hit", row.get("score")), model)
    told = _first(row, "prediction")
    if told is not None and not model and not isinstance(told, dict):
        raise DataError(f"{where} names no model of its answer, as other rows do; write it as model -> text.")
    return Item(
        id=name,
        question=_text(row, "question"),
        answer=_text(row, "answer") or MISSING,
        options=_options(where, row),
        category=_text(row, "category"),
        split=str(row.get("split") or ""),
        hint=str(row.get("hint") or ""),
        image=name if embeds else _text(row, "image"),
        images=images,
        said={who: _said(where, text) for who, text in _by_model(told, model).items()},
        hits={who: float(hit) for who, hit in hits.items() if isinstance(hit, bool | int | float)},
        data={column: value for column, value in row.items() if len(column) > 1 and column not in _KEPT},
    )


def _first(row: Row, name: str) -> Any:
    return next((row[own] for own in _NAMES[name] if row.get(own) is not None), None)


def _text(row: Row, name: str) -> str:
    value = _first(row, name)
    return "" if value is None else str(value)


def _by_model(value: Any, model: str) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {model: value} if model else {}


def _said(where: str, text: Any) -> str | None:
    if isinstance(text, dict | list):
        raise DataError(f"{where} holds an answer that is no text but {type(text).__name__}.")
    return None if text is None or text != text else str(text)  # NaN differs from itself


def _options(where: str, row: Row) -> dict[str, str]:
    given = row.get("options")
    if isinstance(row.get("options_text"), str):
        parts = _LISTED.split(row["options_text"])
        return {letter: text.strip() for letter, text in zip(parts[1::2], parts[2::2], strict=True)}
    if isinstance(given, str) and given.lstrip().startswith("["):
        given = list(golds(given))
    if isinstance(given, list):
        given = dict(zip(string.ascii_uppercase, given, strict=False))
    lettered = {letter: row[letter] for letter in string.ascii_uppercase if letter in row}
    if isinstance(given, str) and lettered:  # a column of another meaning
        given = None
    if given is not None and not isinstance(given, dict):
        raise DataError(f"{where} has options that are neither a list nor named by letters.")
    named = (lettered if given is None else given).items()
    return {str(letter): str(text) for letter, text in named if text is not None and text != ""}
