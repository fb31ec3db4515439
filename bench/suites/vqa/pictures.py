"""The images of a table's questions: base64 in the row, a reference to another row's, or files beside the table."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiflow.bench.suites.vqa.rows import Row
from aiflow.bench.suites.vqa.text import golds
from aiflow.errors import DataError

REFERENCE = 64
"""A text no longer than this is no image but the index of the row that holds it (VLMEvalKit's rule)."""
_FILES = ("image_path", "image_files", "image")


def embedded(where: str, row: Row, images: bool) -> Row:
    """The row with its base64 images as a tuple of bytes, empty unless ``images`` are wanted: base64 is large.

    Raises DataError for what is no base64.
    """
    texts = _listed(row.get("image"))
    if not texts or len(texts[0]) <= REFERENCE:
        return row
    return {**row, "image": tuple(_decoded(where, text) for text in texts) if images else ()}


def pictures(
    path: Path, ids: Sequence[str], rows: Sequence[tuple[str, Mapping[str, Any]]]
) -> dict[str, tuple[Path | bytes, ...]]:
    """Row id -> its images, as bytes or paths, in order; nothing for a row of which a file is not there.

    Files lie beside the table or in its ``images`` folder. Raises DataError for a reference to a row without an image.
    """
    known = {name: row["image"] for name, (_, row) in zip(ids, rows, strict=True) if _embeds(row)}
    found: dict[str, tuple[Path | bytes, ...]] = {}
    for name, (where, row) in zip(ids, rows, strict=True):
        refers = _listed(row.get("image"))
        if name in known:
            found[name] = known[name]
        elif known and refers:
            if refers[0] not in known:
                raise DataError(f"{where} refers to the image of row {refers[0]!r}, which has none; get the file anew.")
            found[name] = known[refers[0]]
        else:
            names = next((_listed(row[column]) for column in _FILES if row.get(column)), ())
            places = [_beside(path.parent, file) for file in names]
            if places and all(places):
                found[name] = tuple(place for place in places if place)
    return found


def _embeds(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("image"), tuple)


def _listed(value: Any) -> tuple[str, ...]:
    if value is None or value == "" or isinstance(value, tuple):
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else golds(str(value))


def _decoded(where: str, text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{where}, column 'image', is no base64 ({error}); get the file anew.") from error


def _beside(folder: Path, name: str) -> Path | None:
    return next((place for place in (folder / name, folder / "images" / name) if place.is_file()), None)
