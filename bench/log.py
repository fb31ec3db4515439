"""One folder per run: ``header.json`` (what ran, how it ended, its results), ``questions.jsonl`` (a line per sample),
``samples.jsonl`` (a line per record) and, for runs that ask models, ``requests.jsonl``.

The header is replaced atomically. A sample line is written by one append; a line that a crash tore is dropped when the
log is read, and cut off when it is continued. Texts only: nothing here imports a model.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from aiflow.bench.suite import Record, Sample
from aiflow.errors import BudgetSpentError, DataError

VERSION = 2
"""2 added ``questions.jsonl`` and judgments; logs of version 1 are read, without questions."""
HEADER, QUESTIONS, SAMPLES, REQUESTS = "header.json", "questions.jsonl", "samples.jsonl", "requests.jsonl"
_RECORD, _SAMPLE = TypeAdapter(Record), TypeAdapter(Sample)
T = TypeVar("T")


class Header(BaseModel):
    """``header.json``."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1, 2] = 2
    suite: str
    status: Literal["started", "success", "stopped", "cancelled", "error"] = "started"
    error: str = ""
    run: dict[str, Any]
    results: dict[str, Any] = {}


class RunLog:
    """The log of one run, open for appending. Use as a context manager: the status follows from how the block ends."""

    def __init__(self, folder: Path, header: Header, *, fresh: bool = True) -> None:
        self.folder, self.header = folder, header
        self._samples = folder / SAMPLES
        self._lock: int | None = None
        self._begun = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if fresh:
                self._begin()
        except OSError as error:
            raise DataError(f"{folder} cannot be written to ({error.strerror}); give another place.") from error

    @classmethod
    def create(cls, root: Path, suite: str, run: Mapping[str, Any]) -> "RunLog":
        """A new folder ``<root>/<time>-<suite>``."""
        stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{suite}"
        names = (stem if n == 0 else f"{stem}-{n}" for n in range(1000))
        return cls(next(root / n for n in names if not (root / n).exists()), Header(suite=suite, run=dict(run)))

    @classmethod
    def resume(cls, folder: Path, suite: str, run: Mapping[str, Any], same: Sequence[str] = ()) -> "RunLog":
        """Opens the log of a run that was stopped. Raises DataError if it is another suite's, or differs in ``same``.

        Nothing in it is changed before its questions are known to be the same (``ask``).
        ``same``: the names of those entries of ``run`` on which answers depend.
        """
        header, _ = read(folder)
        known = header.run | {"suite": header.suite}
        for name, value in {"suite": suite, **{name: run.get(name) for name in same}}.items():
            if known.get(name) != value:
                raise DataError(
                    f"{folder} is a run with {name} {known.get(name)!r}, not {value!r}; resume it with that."
                )
        return cls(folder, Header(suite=suite, run=dict(run)), fresh=False)

    def __enter__(self) -> "RunLog":
        self._lock = _locked(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.header.status = "success"
        elif issubclass(kind, BudgetSpentError):
            self.header.status = "stopped"
        else:
            self.header.status = "error" if issubclass(kind, Exception) else "cancelled"
        if kind:
            self.header.error = f"{kind.__name__}: {error}"
        if self._begun:
            self._write()
        if self._lock is not None:
            os.close(self._lock)

    def ask(self, samples: Sequence[Sample]) -> None:
        """Writes the questions, without their images. Raises DataError if the log holds others."""
        path = self.folder / QUESTIONS
        lines = [json.dumps(_plain(sample), ensure_ascii=False) for sample in samples]
        text = "".join(line + "\n" for line in lines)
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise DataError(f"{path} holds other questions than those that are to be asked; start a new run.")
        self._begin()
        replace(path, text)

    def append(self, record: Record) -> None:
        """Adds one record."""
        self._begin()
        with self._samples.open("ab", buffering=0) as file:
            file.write(json.dumps(dataclasses.asdict(record), ensure_ascii=False).encode() + b"\n")

    def finish(self, results: Mapping[str, Any]) -> None:
        """Sets the results, which the header holds from now on."""
        self._begin()
        self.header.results = dict(results)
        self._write()

    def _write(self) -> None:
        replace(self.folder / HEADER, self.header.model_dump_json(indent=1) + "\n")

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._mend()
            self._write()

    def _mend(self) -> None:
        data = self._samples.read_bytes() if self._samples.exists() else b""
        if data and not data.endswith(b"\n"):
            os.truncate(self._samples, data.rfind(b"\n") + 1)


def read(folder: Path) -> tuple[Header, list[Record]]:
    """A log from disk; of two records of one sample by one subject, the later one (a resumed run tries errors again).

    Raises DataError when it is missing, of another version or malformed.
    """
    path = folder / HEADER
    try:
        header = Header.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} is not a run log ({error.strerror}); give the folder of a run.") from error
    except ValidationError as error:
        raise DataError(f"{path} is not a run log of version {VERSION}: {_first(error)}.") from error
    last = {(r.subject, r.sample): r for r in _lines(folder / SAMPLES, _RECORD, "record")}
    return header, list(last.values())


def questions(folder: Path) -> list[Sample]:
    """The questions of a run, without images; none in a log of version 1. Raises DataError when malformed."""
    return list(_lines(folder / QUESTIONS, _SAMPLE, "question"))


def replace(path: Path, text: str) -> None:
    """Writes a whole file so that a reader, or a crash, finds either the old or the new one."""
    spare = path.with_name(f".{path.name}.{os.getpid()}")
    spare.write_text(text, encoding="utf-8")
    os.replace(spare, path)


def _plain(sample: Sample) -> dict[str, Any]:
    return dataclasses.asdict(dataclasses.replace(sample, images=()))


def _lines(path: Path, kind: TypeAdapter[T], what: str) -> Iterator[T]:
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines[:-1], 1):
        try:
            yield kind.validate_json(line)
        except ValidationError as error:
            raise DataError(f"{path}:{number} is not a {what}: {_first(error)}.") from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'its start'}: {first['msg']}"


def _locked(folder: Path) -> int | None:
    """A lock on the folder, held until it is closed or the process ends; None where there are none (Windows).

    Raises DataError where another run holds it.
    """
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise DataError(f"{folder} is being written by another run; wait for its end, or stop it.") from error
    return handle
