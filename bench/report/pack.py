"""Questions, answers and judgments as data for the page's script: an index of all, and the rest in compressed chunks.

The index has what the list of questions shows; a chunk is only unpacked when a question in it is opened or searched.
JSON, gzip, base64: text in it never is markup.
"""

import base64
import dataclasses
import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiflow.bench.report.material import Material
from aiflow.bench.suite import Record, Said, Sample, Turn

CHUNK = 400_000  # characters of JSON, roughly what a browser unpacks in 10 ms
HEAD = 140  # characters of a question in the list
MISSING = "x"
LEVEL = 6


@dataclasses.dataclass(frozen=True)
class Packed:
    """``index`` and ``chunks``, each base64 of gzip of JSON."""

    index: str
    chunks: Sequence[str]


def pack(material: Material) -> Packed:
    """Everything that the page's script shows of the questions."""
    starts, chunks = [], []
    for start, text in _chunks(material):
        starts.append(start)
        chunks.append(_press(text))
    return Packed(_press(_json(_index(material) | {"starts": starts})), chunks)


def unpack(text: str) -> Any:
    """The value in an index or a chunk."""
    return json.loads(gzip.decompress(base64.b64decode(text)))


def _chunks(material: Material) -> Iterator[tuple[int, str]]:
    """(number of its first sample, JSON) of every chunk."""
    start, size, lines = 0, 0, list[str]()
    for number, sample in enumerate(material.samples):
        line = _json(_told(sample, material))
        if lines and size + len(line) > CHUNK:
            yield start, f"[{','.join(lines)}]"
            start, size, lines = number, 0, []
        lines.append(line)
        size += len(line)
    if lines:
        yield start, f"[{','.join(lines)}]"


def _index(material: Material) -> dict[str, Any]:
    """Columns over samples. A score: a number; null where no judgment could be read; ``x`` where nothing was asked."""
    alone = {row.name for row in material.results.rows if row.group == "alone"}
    categories = {name: number for number, name in enumerate(material.categories)}
    records = list(material.records.values())
    return {
        "best": material.results.best,
        "digits": material.results.digits,
        "lead": list(material.records).index(material.lead) if material.lead else 0,
        "subjects": [
            {"name": name, "alone": name in alone, "shown": not material.shown or name in material.shown}
            for name in material.records
        ],
        "categories": list(categories),
        "ids": [sample.id for sample in material.samples],
        "category": [categories[sample.category] for sample in material.samples],
        "heads": [" ".join("".join(sample.turns[:1])[: 2 * HEAD].split())[:HEAD] for sample in material.samples],
        "scores": [[_score(by.get(sample.id)) for sample in material.samples] for by in records],
        "errors": [[n for n, s in enumerate(material.samples) if _failed(by.get(s.id))] for by in records],
    }


def _score(record: Record | None) -> float | str | None:
    if record is None:
        return MISSING
    return None if record.score is None else round(record.score, 4)


def _failed(record: Record | None) -> bool:
    return record is not None and any(turn.error for turn in record.turns)


def _told(sample: Sample, material: Material) -> dict[str, Any]:
    """A sample with what every subject answered, by the subject's number; empty fields are left out."""
    found = {n: by[sample.id] for n, by in enumerate(material.records.values()) if sample.id in by}
    answers = {n: [_turn(turn) for turn in record.turns] for n, record in found.items()}
    told = {"turns": sample.turns, "references": sample.references, "data": sample.data, "answers": answers}
    return {name: value for name, value in told.items() if value}


def _turn(turn: Turn) -> dict[str, Any]:
    plain = {f.name: getattr(turn, f.name) for f in dataclasses.fields(turn)}
    plain |= {kind: {name: _said(said) for name, said in plain[kind].items()} for kind in ("answers", "finals")}
    plain["judgments"] = [dataclasses.asdict(judgment) for judgment in turn.judgments]
    return {name: value for name, value in plain.items() if value or name == "score"}


def _said(said: Said) -> dict[str, Any]:
    return {"text": said.text, "score": said.score}


def _press(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), LEVEL, mtime=0)).decode()


def _json(value: Any) -> str:
    """JSON that every browser reads: NaN and infinities, which are none, as text."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=dict)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, separators=(",", ":"), default=dict)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value
