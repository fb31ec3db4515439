"""Table rows made from records alone, for logs of runs that were stopped or that hold no table."""

import math
from collections.abc import Mapping, Sequence

from aiflow.bench import stats
from aiflow.bench.results import Row
from aiflow.bench.stats import Estimate, percentile
from aiflow.bench.subjects import total
from aiflow.bench.suite import Record, Sample


def rebuilt(samples: Sequence[Sample], records: Mapping[str, Mapping[str, Record]]) -> list[Row]:
    """A row per subject: those alone first, then collaborations."""
    groups = {sample.id: sample.group or sample.id for sample in samples}
    rows = [_rebuilt(name, by, groups) for name, by in records.items()]
    return sorted(rows, key=lambda row: row.group != "alone")


def _rebuilt(name: str, records: Mapping[str, Record], groups: Mapping[str, str]) -> Row:
    """A subject's row, NaN if nothing of it has a score. Costs that were not recorded stay empty."""
    found = list(records.values())
    scored = [record for record in found if record.score is not None]
    turns = [turn for record in found for turn in record.turns]
    links = {link: count / len(found) for link, count in total(turn.bytes for turn in turns).items()}
    waits = [turn.seconds for turn in turns if turn.seconds and not (turn.error or turn.reused)]
    joint = any(turn.selected or turn.answers or turn.steps for turn in turns)
    by_turn = [[r.turns[n].score for r in scored if n < len(r.turns)] for n in range(max(len(r.turns) for r in found))]
    known = [[score for score in column if score is not None] for column in by_turn]
    drawn = [groups[record.sample] for record in scored]
    score = (
        stats.mean([r.score or 0.0 for r in scored], groups=drawn) if scored else Estimate(math.nan, math.nan, math.nan)
    )
    return Row(
        name=name,
        group="collaborations" if joint else "alone",
        turns=tuple(sum(column) / len(column) if column else math.nan for column in known),
        score=score,
        latency=percentile(waits, 50) if waits else None,
        bytes=float(sum(links.values())) if links else None,
        links=links,
        tokens=sum(turn.tokens for turn in turns) / len(found) if any(turn.tokens for turn in turns) else None,
        errors=sum(bool(turn.error) for turn in turns),
    )
