"""One folder per run: ``header.json`` (what ran, how it ended, its results) and ``samples.jsonl`` (a line per record).

The header is replaced atomically. A sample line is written by one append; a line that a crash tore is dropped when the
log is read, and cut off when it is continued. Texts only: nothing here imports a model.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from aiflow.bench.suite import Record
from aiflow.errors import DataError

VERSION = 1
_RECORD = TypeAdapter(Record)


class Header(BaseModel):
    """``header.json``."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    suite: str
    status: Literal["started", "success", "cancelled", "error"] = "started"
    error: str = ""
    run: dict[str, Any]
    results: dict[str, Any] = {}


class RunLog:
    """The log of one run, open for appending. Use as a context manager: the status follows from how the block ends."""

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder, self.header = folder, header
        folder.mkdir(parents=True, exist_ok=True)
        self._samples = folder / "samples.jsonl"
        self._mend()
        self._write()

    @classmethod
    def create(cls, root: Path, suite: str, run: Mapping[str, Any]) -> "RunLog":
        """A new folder ``<root>/<time>-<suite>``."""
        stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{suite}"
        names = (stem if n == 0 else f"{stem}-{n}" for n in range(1000))
        return cls(next(root / n for n in names if not (root / n).exists()), Header(suite=suite, run=dict(run)))

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.header.status = "success"
        else:
            self.header.status = "error" if issubclass(kind, Exception) else "cancelled"
            self.header.error = f"{kind.__name__}: {error}"
        self._write()

    def append(self, record: Record) -> None:
        """Adds one record."""
        with self._samples.open("ab", buffering=0) as file:
            file.write(json.dumps(dataclasses.asdict(record), ensure_ascii=False).encode() + b"\n")

    def finish(self, results: Mapping[str, Any]) -> None:
        """Sets the results, which the header holds from now on."""
        self.header.results = dict(results)
        self._write()

    def _write(self) -> None:
        spare = self.folder / f".header.{os.getpid()}"
        spare.write_text(self.header.model_dump_json(indent=1) + "\n", encoding="utf-8")
        os.replace(spare, self.folder / "header.json")

    def _mend(self) -> None:
        data = self._samples.read_bytes() if self._samples.exists() else b""
        if data and not data.endswith(b"\n"):
            os.truncate(self._samples, data.rfind(b"\n") + 1)


def read(folder: Path) -> tuple[Header, list[Record]]:
    """A log from disk. Raises DataError when it is missing, of another version or malformed."""
    path = folder / "header.json"
    try:
        header = Header.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} is not a run log of version {VERSION}: {error}") from error
    return header, list(_records(folder / "samples.jsonl"))


def _records(path: Path) -> Iterator[Record]:
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines[:-1], 1):
        try:
            yield _RECORD.validate_json(line)
        except ValidationError as error:
            raise DataError(f"{path}:{number} is not a record: {error}") from error
