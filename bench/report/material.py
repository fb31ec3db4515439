"""What a page is made of: results, questions, records and how the run ended; from memory, or from a run's folder alone.

Logs of any state are read: finished, stopped, of version 1 (without questions), with results of another shape.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aiflow.bench import log
from aiflow.bench.report.restore import results_of
from aiflow.bench.results import Results, Row
from aiflow.bench.suite import Record, Sample, Suite
from aiflow.errors import DataError

UNKNOWN = "The questions are not in this log (version 1); answers and scores are."


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that a page tells.

    ``records``: subject -> sample id -> record; a run that was stopped lacks some. ``shown``: the subjects that the
    pages of questions open with.
    """

    results: Results
    samples: Sequence[Sample]
    records: Mapping[str, Mapping[str, Record]]
    shown: Sequence[str] = ()
    status: str = "success"
    error: str = ""

    @property
    def categories(self) -> list[str]:
        """In the order of their first sample."""
        return list(dict.fromkeys(sample.category for sample in self.samples))

    @property
    def lead(self) -> str | None:
        """The subject whose answers mark a question right or wrong: the merged one, one shown, or any collaboration."""
        alone = {row.name for row in self.results.rows if row.group == "alone"}
        merged = [self.subject(row) for row in self.results.rows if row.key == "merged"]
        joint = [name for name in self.records if name not in alone]
        return next((name for name in (*merged, *self.shown, *joint, *self.records) if name in self.records), None)

    def subject(self, row: Row) -> str | None:
        """Whose records a row of the table rests on: a subject of its name, alone or of its group; None if no one's."""
        names = (f"{row.group}: {row.name}", row.name)
        return next((name for name in names if name in self.records), None)


def of_memory(
    results: Results, suite: Suite, records: Mapping[str, Sequence[Record]], shown: Sequence[str] = ()
) -> Material:
    """The material of a run that just ended."""
    by_id = {name: {record.sample: _finite(record) for record in found} for name, found in records.items()}
    return Material(results=results, samples=suite.samples, records=by_id, shown=shown)


def of_folder(run: Path) -> Material:
    """The material of a logged run: its folder, or the header in it. Raises DataError where it is no run."""
    folder = folder_of(run)
    header, logged = log.read(folder)
    samples, notes = log.questions(folder), []
    records: dict[str, dict[str, Record]] = {}
    for record in map(_finite, logged):
        records.setdefault(record.subject, {})[record.sample] = record
    if not samples and logged:
        notes.append(UNKNOWN)
    known = {sample.id for sample in samples}
    strangers = {record.sample: record for record in logged if record.sample not in known}
    if samples and strangers:
        notes.append(f"{len(strangers)} records answer questions that {log.QUESTIONS} does not hold.")
    samples += [Sample(id=r.sample, category=r.category, turns=("",) * len(r.turns)) for r in strangers.values()]
    results = results_of(header, samples, records)
    whole = [name for name, by in records.items() if any(turn.answers for r in by.values() for turn in r.turns)]
    return Material(
        results=replace(results, notes=[*results.notes, *notes]),
        samples=samples,
        records=records,
        shown=whole,
        status=header.status,
        error=header.error,
    )


def _finite(record: Record) -> Record:
    """A score that is no number is none."""
    if all(turn.score is None or math.isfinite(turn.score) for turn in record.turns):
        return record
    turns = (turn if math.isfinite(turn.score or 0.0) else replace(turn, score=None) for turn in record.turns)
    return replace(record, turns=tuple(turns))


def folder_of(run: Path) -> Path:
    """The folder of a run. Raises DataError that tells which runs there are, if it is a folder of runs."""
    folder = run.parent if run.name == log.HEADER else run
    if (folder / log.HEADER).is_file():
        return folder
    inside = sorted(path.parent.name for path in folder.glob(f"*/{log.HEADER}")) if folder.is_dir() else []
    remedy = f"it holds runs, give one of them: {', '.join(inside[-5:])}" if inside else "give the folder of a run"
    raise DataError(f"{folder} has no {log.HEADER}; {remedy}.")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many questions a row of the table rests on, and how many of its turns no judge's words gave a score."""

    n: int
    unparsed: int | None


def counts(material: Material) -> list[Counts]:
    """A count per row of the results; a row that is not a subject's own rests on all questions."""
    seen: set[str] = set()
    found = []
    for row in material.results.rows:
        subject = material.subject(row)
        own = subject is not None and subject not in seen  # a second row of that name is of something else
        found.append(
            _counted(material, subject) if own and subject else Counts(n=material.results.questions, unparsed=None)
        )
        seen.add(subject or "")
    return found


def _counted(material: Material, subject: str) -> Counts:
    records = material.records[subject].values()
    scored = sum(record.score is not None for record in records)
    return Counts(n=scored, unparsed=sum(turn.score is None for record in records for turn in record.turns))
