"""JSON and JSON-lines files, gzipped or not, whose every fault is one line with the place."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from aiflow.errors import DataError


def load(file: Path) -> Any:
    """A list (of the lines, for ``.jsonl``) or a dict. Raises DataError with file and line."""
    text = _text(file)
    if ".jsonl" in file.name:
        lines = enumerate(text.split("\n"), 1)
        return [_parse(file, line, number) for number, line in lines if line.strip()]
    data = _parse(file, text, 1)
    if not isinstance(data, list | dict):
        raise DataError(f"{file}: expected a list or an object, found {type(data).__name__}.")
    return data


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (EOFError, UnicodeDecodeError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file} is damaged ({error}); fetch it again.") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}); give an existing file.") from None


def _parse(file: Path, text: str, first: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first + error.lineno - 1
        raise DataError(f"{file}, line {line}: not JSON ({error.msg}, column {error.colno}); repair it.") from None
