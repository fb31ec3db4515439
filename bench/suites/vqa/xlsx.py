"""The first sheet of an XLSX file as texts, which is how VLMEvalKit writes its predictions. Formats are not read."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from aiflow.errors import DataError

_NS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_SHEET = "xl/worksheets/sheet1.xml"
_STRINGS = "xl/sharedStrings.xml"
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")


def sheet(path: Path) -> Iterator[list[str]]:
    """The rows, all as wide as the first; an empty cell is an empty text. Raises DataError."""
    try:
        with zipfile.ZipFile(path) as book:
            known = _strings(book)
            root = ElementTree.fromstring(book.read(_SHEET))
            width = 0
            for row in root.iter(f"{_NS}row"):
                cells = {_column(cell.get("r", "")): _value(cell, known) for cell in row.iter(f"{_NS}c")}
                width = width or max(cells, default=-1) + 1
                yield [cells.get(number, "") for number in range(width)]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; give the right path.") from error
    except (OSError, zipfile.BadZipFile, KeyError, IndexError, ValueError, ElementTree.ParseError) as error:
        raise DataError(f"{path} cannot be read as XLSX ({error}); export it as TSV.") from error


def _strings(book: zipfile.ZipFile) -> list[str]:
    if _STRINGS not in book.namelist():
        return []
    return [_text(entry) for entry in ElementTree.fromstring(book.read(_STRINGS)).iter(f"{_NS}si")]


def _value(cell: ElementTree.Element, known: list[str]) -> str:
    inline = cell.find(f"{_NS}is")
    if inline is not None:
        return _text(inline)
    value = cell.findtext(f"{_NS}v") or ""
    if cell.get("t") == "s":
        return known[int(value)]
    return {"1": "True", "0": "False"}.get(value, value) if cell.get("t") == "b" else value


def _text(entry: ElementTree.Element) -> str:
    text = "".join(part.text or "" for part in entry.iter(f"{_NS}t"))
    return _ESCAPE.sub(lambda found: chr(int(found.group(1), 16)), text)


def _column(place: str) -> int:
    """``B7`` -> 1."""
    number = 0
    for char in place:
        if char.isalpha():
            number = number * 26 + ord(char.upper()) - 64
    if not number:
        raise ValueError(f"a cell without a column: {place!r}")
    return number - 1
