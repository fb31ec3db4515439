"""The rows of a table of questions: JSON lines, JSON, TSV, CSV or XLSX, plain or ``.gz``. Knows no column by name.

TSV and CSV are read as VLMEvalKit reads them: what pandas takes for a missing value is missing.
"""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiflow.bench.suites import files
from aiflow.bench.suites.vqa.xlsx import sheet
from aiflow.errors import DataError

Row = dict[str, Any]
KINDS = (".jsonl", ".json", ".tsv", ".csv", ".xlsx")
MISSING = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A")
) | {"NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
_FIELD = 2**30  # an image in base64 is one field


def kind(path: Path) -> str:
    """The suffix that says how the file is read, e.g. ``.tsv``; empty if it is none of ``KINDS``."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in KINDS else ""


def stem(path: Path) -> str:
    """The file's name without ``.gz`` and suffix."""
    return Path(path.name.removesuffix(".gz")).stem


def rows(path: Path) -> Iterator[tuple[str, Row]]:
    """(where, row) of every row; ``where`` names file and line. Raises DataError for what is no table of rows."""
    name = path.name
    found: Iterator[tuple[str, Any]]
    if kind(path) == ".jsonl":
        found = ((f"{name}:{number}", row) for number, row in files.rows(path))
    elif kind(path) == ".json":
        value = files.load(path)
        if not isinstance(value, list):
            raise DataError(f"{path} holds no list of rows; give VLMEvalKit's TSV or the recorded JSON lines.")
        found = ((f"{name}, row {number}", row) for number, row in enumerate(value, 1))
    elif kind(path) == ".xlsx":
        found = _headed(path, enumerate(sheet(path), 1))
    elif kind(path):
        found = _separated(path)
    else:
        raise DataError(f"{path} is of no known kind; give a file that ends in {', '.join(KINDS)} (or .gz of it).")
    for where, row in found:
        if not isinstance(row, dict):
            raise DataError(f"{where} is no object with named columns, but {type(row).__name__}.")
        yield where, row


def _separated(path: Path) -> Iterator[tuple[str, Row]]:
    found = files.find(path)
    if found is None:
        raise DataError(f"{path} is missing; give the right path.")
    csv.field_size_limit(_FIELD)
    delimiter = "\t" if kind(path) == ".tsv" else ","
    try:
        opener: Any = gzip.open if found.name.endswith(".gz") else open
        with opener(found, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            yield from _headed(path, ((reader.line_num, cells) for cells in reader))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table ({error}); get it anew.") from error


def _headed(path: Path, lines: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[str, Row]]:
    """Rows under the header that is the first line."""
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path} is empty; get it anew.")
    header = first[1]
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path} has the column {twice!r} twice; remove one.")
    for number, cells in lines:
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise DataError(f"{path}:{number} has {len(cells)} columns, its header {len(header)}; get it anew.")
        yield (
            f"{path.name}:{number}",
            {name: None if cell in MISSING else cell for name, cell in zip(header, cells, strict=True)},
        )
