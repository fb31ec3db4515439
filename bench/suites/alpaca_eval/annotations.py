"""Recorded judgments of models against the baseline, from two forms of file: one that holds many models as columns
(``models: {name: {preference, len_output_2, logprob_m_M}}``), and AlpacaEval's own rows, a judgment each.

A row that the file lacks is not there afterwards; one whose judgment could not be read has the preference NaN.
"""

import ast
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated as Checked
from typing import Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, field_validator

from aiflow.bench.suites import files
from aiflow.bench.suites.alpaca_eval.data import ANNOTATIONS, BASELINE, NAME
from aiflow.bench.suites.alpaca_eval.score import Floats, preference, switched
from aiflow.errors import DataError

Pair = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """The N judged rows of one model, in the file's order.

    ``ids``: the sample each is about. ``recomputed_N``: the preference that the recorded probabilities give. Lengths
    are in characters. NaN: not recorded. ``missing``: how many rows a file of columns has for others, not for this one.
    """

    model: str
    baseline: str
    ids: tuple[str, ...] = field(repr=False)
    preference_N: Floats = field(repr=False)
    recomputed_N: Floats = field(repr=False)
    length_N: Floats = field(repr=False)
    baseline_length_N: Floats = field(repr=False)
    missing: int = 0
    published: Mapping[str, float | None] = field(default_factory=dict)


def _known(value: Any) -> Any:
    """NaN is how some write what is not recorded; true and false are no numbers."""
    if isinstance(value, bool):
        raise ValueError("Input should be a number or null, not true or false")
    return None if isinstance(value, float) and math.isnan(value) else value


_Number = Checked[float | None, BeforeValidator(_known)]
_Length = Checked[Checked[float, Field(ge=0, allow_inf_nan=False)] | None, BeforeValidator(_known)]


class _Model(BaseModel):
    preference: list[_Number]
    len_output_2: list[_Length]
    logprob_m_M: list[Pair | None] | None = None
    published: dict[str, float | None] = {}


class _Columns(BaseModel):
    len_output_1: list[_Length]
    instructions: list[str] | None = None
    order_switched: list[bool] | None = None
    models: dict[str, _Model]


class _Row(BaseModel):
    instruction: str
    generator_1: str = BASELINE
    generator_2: str
    output_1: str | None = None
    output_2: str | None = None
    preference: _Number = None
    raw_completion: Any = None

    @field_validator("preference", mode="before")
    @classmethod
    def _blank(cls, value: Any) -> Any:
        return None if value == "" else value


_ROWS = TypeAdapter(list[_Row])


def load(data: Path | None) -> list[Annotated]:
    """Every model of a file or a folder of either form. Raises DataError that names the file and the place."""
    paths = _paths(data)
    found = [one for path in paths for one in _load(path)]
    if not found:
        raise DataError(f"{', '.join(map(str, paths))}: no model's judgments; give a folder that holds some.")
    files.unique((one.model for one in found), str(paths[0].parent))
    return found


def _paths(data: Path | None) -> list[Path]:
    if data is not None and (given := files.find(data)):
        return [given]
    try:
        return [files.locate(NAME, data, ANNOTATIONS) / ANNOTATIONS]
    except DataError:
        inner = sorted({*data.rglob(ANNOTATIONS), *data.rglob(f"{ANNOTATIONS}.gz")}) if data else []
        own = inner or (sorted([*data.glob("*.json"), *data.glob("*.json.gz")]) if data else [])
        if not own:
            raise
        return own


def _load(path: Path) -> list[Annotated]:
    value = files.load(path)
    if isinstance(value, list):
        return _from_rows(path, files.checked(_ROWS.validate_python, value, str(path)))
    return _from_columns(path, files.checked(_Columns.model_validate, value, str(path)))


def _from_columns(path: Path, read: _Columns) -> list[Annotated]:
    count = len(read.len_output_1)
    if read.instructions is not None:
        files.unique(read.instructions, str(path))
    order = read.order_switched if read.instructions is None else [switched(text) for text in read.instructions]
    _same(path, count, instructions=read.instructions, order_switched=read.order_switched)
    found = []
    for name, one in read.models.items():
        columns = {"preference": one.preference, "len_output_2": one.len_output_2, "logprob_m_M": one.logprob_m_M}
        _same(path, count, **{f"{name}.{column}": values for column, values in columns.items()})
        recomputed = [math.nan] * count
        if one.logprob_m_M is not None and order is not None:
            recomputed = [_again(pair, turned) for pair, turned in zip(one.logprob_m_M, order, strict=True)]
        there = [n for n in range(count) if (one.preference[n], one.len_output_2[n]) != (None, None)]
        lines = [(str(n), one.preference[n], recomputed[n], one.len_output_2[n], read.len_output_1[n]) for n in there]
        known = _annotated(name, BASELINE, lines)
        found.append(replace(known, missing=count - len(there), published=one.published))
    return found


def _from_rows(path: Path, rows: Sequence[_Row]) -> list[Annotated]:
    told = _known_questions() if any(row.output_1 is None for row in rows) else {}
    found = []
    for name in dict.fromkeys(row.generator_2 for row in rows):
        own = [row for row in rows if row.generator_2 == name]
        files.unique((row.instruction for row in own), f"{path}, judgments of {name},")
        baselines = {row.generator_1 for row in own}
        if len(baselines) > 1:
            raise DataError(
                f"{path}: {name} is compared with {', '.join(sorted(baselines))}; give one baseline a file."
            )
        lines = [
            (
                told.get(row.instruction, (str(n), 0))[0],
                row.preference,
                _again(_logprobs(row.raw_completion), switched(row.instruction)),
                None if row.output_2 is None else len(row.output_2),
                _baseline_length(row, told),
            )
            for n, row in enumerate(own)
        ]
        found.append(_annotated(name, baselines.pop(), lines))
    return found


def _baseline_length(row: _Row, told: Mapping[str, tuple[str, float]]) -> float | None:
    if row.output_1 is not None:
        return len(row.output_1)
    return told[row.instruction][1] if row.generator_1 == BASELINE and row.instruction in told else None


def _known_questions() -> dict[str, tuple[str, float]]:
    """Instruction -> its id and the length of the baseline's output, from a default folder; empty without one."""
    try:
        path = files.locate(NAME, None, ANNOTATIONS) / ANNOTATIONS
        read = files.checked(_Columns.model_validate, files.load(path), str(path))
    except DataError:
        return {}
    lengths = zip(read.instructions or (), read.len_output_1, strict=False)
    return {text: (str(n), length) for n, (text, length) in enumerate(lengths) if length is not None}


def _annotated(model: str, baseline: str, lines: Iterable[Sequence[Any]]) -> Annotated:
    """``lines``: id, preference, recomputed preference, length, baseline's length. What is recomputed fills gaps."""
    rows = list(lines)
    table = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 4)
    recorded, recomputed = table[:, 0], table[:, 1]
    return Annotated(
        model=model,
        baseline=baseline,
        ids=tuple(row[0] for row in rows),
        preference_N=np.where(np.isnan(recorded), recomputed, recorded),
        recomputed_N=recomputed,
        length_N=table[:, 2],
        baseline_length_N=table[:, 3],
    )


def _again(pair: Pair | None, turned: bool) -> float:
    found = preference(*pair, turned) if pair else None
    return math.nan if found is None else found


def _logprobs(raw: Any) -> Pair | None:
    """The log probabilities of "m" and "M" in what the judge's server sent; as JSON, or as Python prints it."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw) if raw.startswith('{"') else ast.literal_eval(raw)
        except (ValueError, SyntaxError):
            return None
    try:
        top = {one["token"]: float(one["logprob"]) for one in raw["logprobs"]["content"][0]["top_logprobs"]}
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return (top.get("m"), top.get("M"))


def _same(path: Path, count: int, **columns: Sequence[Any] | None) -> None:
    for name, values in columns.items():
        if values is not None and len(values) != count:
            raise DataError(
                f"{path}: {name} holds {len(values)} rows, len_output_1 {count}; they must be the same rows."
            )
