"""A run as the exports see it: the header, the questions in order, and each subject's records in that order.

Also what all formats share: names of files, ids, JSON lines, what else is known of a turn. Knows no format.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from aiflow.bench.log import HEADER, Header, questions, read
from aiflow.bench.suite import Judgment, Record, Sample, Turn
from aiflow.errors import DataError

Files = dict[str, bytes]
"""Relative path -> content."""
_STAMP = "%Y%m%dT%H%M%SZ"
_UNSAFE = re.compile(r"[\"<>:/|\\?*\[\]\x00-\x1f]+")


@dataclass(frozen=True)
class Run:
    """What a log holds. ``samples`` is empty where the questions were not logged; ``time`` is the start, with a zone.

    Of a run that did not end, what was found until then.
    """

    header: Header
    samples: tuple[Sample, ...]
    records: tuple[Record, ...]
    time: datetime

    @cached_property
    def suite(self) -> str:
        """The suite's name in lower case with ``_``, e.g. ``mt_bench``."""
        return re.sub(r"[^a-z0-9]+", "_", self.header.suite.lower()).strip("_")

    @cached_property
    def questions(self) -> dict[str, Sample]:
        """The samples by id; where none were logged, ones without a text."""
        return {sample.id: sample for sample in self.samples} or {
            record.sample: Sample(id=record.sample, category=record.category, turns=("",) * len(record.turns))
            for record in self.records
        }

    @cached_property
    def subjects(self) -> dict[str, list[Record]]:
        """Subject -> its records in the order of the questions. Raises DataError for a record of an unknown one."""
        places = {name: place for place, name in enumerate(self.questions)}
        found: dict[str, list[Record]] = {}
        for record in self.records:
            sample = self.questions.get(record.sample)
            if sample is None or len(sample.turns) != len(record.turns):
                what = "is not among the logged questions" if sample is None else "has another number of turns there"
                raise DataError(f"question {record.sample!r}, answered by {record.subject!r}, {what}; run it anew.")
            found.setdefault(record.subject, []).append(record)
        return {name: sorted(records, key=lambda r: places[r.sample]) for name, records in found.items()}

    @cached_property
    def files(self) -> dict[str, str]:
        """Subject -> a name that is fit for a file and as unique."""
        return safe_names(self.subjects)

    @cached_property
    def judgments(self) -> list[Judgment]:
        """All that judges said."""
        turns = (turn for records in self.subjects.values() for record in records for turn in record.turns)
        return [judgment for turn in turns for judgment in turn.judgments]

    @cached_property
    def judges(self) -> list[str]:
        """Who judged anything, in the order of appearance."""
        return list(dict.fromkeys(judgment.judge for judgment in self.judgments))

    @cached_property
    def baseline(self) -> str:
        """The model that answers were compared with, as a judgment or the run says; empty: neither does."""
        told = (source.get("baseline") for source in (*(j.data for j in self.judgments), self.header.run))
        return next((name for name in told if isinstance(name, str)), "")

    def figures(self, subject: str) -> dict[str, Any]:
        """What the run's results say of a subject under published names; empty while the run has not ended."""
        models = self.header.results.get("models")
        found = models.get(subject) if isinstance(models, Mapping) else None
        return dict(found) if isinstance(found, Mapping) else {}


def load(folder: Path) -> Run:
    """Reads a run's folder. Raises DataError."""
    header, records = read(folder)
    if not records:
        raise DataError(f"{folder} holds no answers yet; there is nothing to export.")
    return Run(header, tuple(questions(folder)), tuple(records), _time(folder, header))


def _time(folder: Path, header: Header) -> datetime:
    """The header's; in its absence that in the folder's name, else when the header was written."""
    try:
        told = datetime.fromisoformat(str(header.run.get("time")))
        return told if told.tzinfo else told.replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return datetime.strptime(folder.resolve().name.split("-")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(int((folder / HEADER).stat().st_mtime), UTC)


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Each name with what file systems refuse replaced by ``__``; where two become one, a hash tells them apart."""
    found: dict[str, str] = {}
    for name in names:
        safe = _UNSAFE.sub("__", name).strip(". ") or "_"
        taken = {other.lower() for other in found.values()}
        found[name] = f"{safe}-{digest(name)[:8]}" if safe.lower() in taken else safe
    return found


def digest(*parts: object) -> str:
    """22 characters that depend on the parts alone."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:22]


def number(name: str) -> int | str:
    """A question's id as the benchmarks write it: a whole number where it is one."""
    return int(name) if name.isascii() and name.isdecimal() and str(int(name)) == name else name


def lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """JSON lines; numbers that are not finite become null."""
    return "".join(json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode()


def document(value: object) -> bytes:
    """One indented JSON value; numbers that are not finite become null."""
    return (json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=2) + "\n").encode()


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _finite(part) for key, part in value.items()}
        case list() | tuple():
            return [_finite(part) for part in value]
    return value


def details(turn: Turn) -> dict[str, Any]:
    """What no other tool knows of a turn: its costs and, in a collaboration, each agent's texts; nothing empty."""
    known = {
        "seconds": turn.seconds,
        "tokens": turn.tokens,
        "bytes": dict(turn.bytes),
        "error": turn.error,
        "selected": list(turn.selected),
        "answers": {name: asdict(said) for name, said in turn.answers.items()},
        "finals": {name: asdict(said) for name, said in turn.finals.items()},
    }
    return {name: value for name, value in known.items() if value}


def extra(record: Record) -> dict[str, Any]:
    """``{"aiflow": [details of each turn]}``; empty where there is nothing to tell."""
    turns = [details(turn) for turn in record.turns]
    return {"aiflow": turns} if any(turns) else {}


def by_judge(judgments: Sequence[Judgment]) -> dict[str, list[Judgment]]:
    """Judge -> what it said, in order."""
    found: dict[str, list[Judgment]] = {}
    for judgment in judgments:
        found.setdefault(judgment.judge, []).append(judgment)
    return found
