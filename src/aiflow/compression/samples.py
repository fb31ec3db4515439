"""Reads files of dialogues on images. Everything wrong is a typed error that names the line.

A line is ``{"image": path, "messages": [{"role": "user", "content": text}, ...]}``, or in LLaVA's layout
``{"image": path, "conversations": [{"from": "human", "value": text}, ...]}``; paths are relative to the file.
A file that is one JSON array of such objects is read, too.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiflow.errors import InputError

ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
MARK = "<image>"
"""What datasets write where the image stands; it is read before the first question in any case."""
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Turn:
    """``role``: user, assistant or system."""

    role: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A dialogue on one image; ``place``: how errors name it."""

    place: str
    image: Path
    turns: tuple[Turn, ...]


def read(file: Path) -> tuple[list[Sample], int]:
    """The dialogues of a file that have an image, and how many have none.

    Raises InputError for a file that cannot be read or has no such dialogue, a malformed line, or a missing image.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the data {str(file)!r} cannot be read ({type(error).__name__}); give a file of JSON lines."
        ) from None
    rows = _rows(file, text)
    found = [_sample(file, place, row) for place, row in rows if not isinstance(row, dict) or row.get("image")]
    if not found:
        raise InputError(f'{str(file)!r} has no dialogue on an image; write {{"image": ..., "messages": [...]}}.')
    missing = [sample for sample in found if not sample.image.is_file()]
    if missing:
        named = ", ".join(f"{sample.place.partition(' of ')[0]} ({str(sample.image)!r})" for sample in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InputError(f"images of {str(file)!r} are not there: {named}{more}; paths are relative to the file.")
    return found, len(rows) - len(found)


def _rows(file: Path, text: str) -> list[tuple[str, Any]]:
    try:
        if text.lstrip().startswith("["):
            return [(f"item {i}", row) for i, row in enumerate(json.loads(text), 1)]
        number = 0
        rows = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                rows.append((f"line {number}", json.loads(line)))
    except ValueError as error:
        where = "" if text.lstrip().startswith("[") else f"line {number} of "
        raise InputError(f"{where}{str(file)!r} is not JSON: {error}.") from None
    return rows


def _sample(file: Path, place: str, row: Any) -> Sample:
    try:
        return _parsed(file, place, row)
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f'{place} of {str(file)!r} is no dialogue on an image; write {{"image": path, "messages": '
            '[{"role": "user", "content": text}, {"role": "assistant", "content": text}]}.'
        ) from None


def _parsed(file: Path, place: str, row: Any) -> Sample:
    if not isinstance(row["image"], str):
        raise InputError(f"{place} of {str(file)!r} has several images; one at a time can be compressed.")
    if "messages" in row:
        turns = [Turn(role=ROLES[m["role"]], text=_clean(_text(m["content"]))) for m in row["messages"]]
    else:
        turns = [Turn(role=ROLES[m["from"]], text=_clean(m["value"])) for m in row["conversations"]]
    roles = [turn.role for turn in turns if turn.role != "system"]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise InputError(
            f"{place} of {str(file)!r} has the turns {', '.join(roles) or '(none)'}; write a user's and an "
            "assistant's in turn, with an answer at the end."
        )
    return Sample(place=f"{place} of {str(file)!r}", image=file.parent / row["image"], turns=tuple(turns))


def _text(content: Any) -> str:
    """Content as a text or as a list of parts, of which the texts count."""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def _clean(text: str) -> str:
    return text.replace(MARK, "").strip()


def picture(path: Path, place: str = "") -> Any:
    """An image as RGB (`PIL.Image`). Raises InputError for a file that is none, naming ``place``."""
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        at = f"{place}: " if place else ""
        raise InputError(f"{at}the image {str(path)!r} cannot be read: {reason}; give a picture file.") from error
