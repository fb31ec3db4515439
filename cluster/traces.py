"""A link's rate over time: piecewise constant, for ever or in cycles. Pure arithmetic; it knows no clock.

``rate: 1 MB/s``, ``rate: {trace: [[0, 2 MB/s], [10 s, 500 KB/s]], period: 20 s}``, ``rate: {trace: lte.csv}`` (two
columns, time and rate, header optional) and ``rate: lte.csv`` all become a ``Trace``.
"""

import csv
from bisect import bisect_right
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from aiflow import units
from aiflow.cluster.strict import Strict, require
from aiflow.errors import UsageError

FOLDER: ContextVar[Path] = ContextVar("folder", default=Path())
"""Where relative CSV paths start: the folder of the topology file that is being read."""


class Trace(Strict):
    """Rates in bytes/s from given times (s) on, counted from the link's start; repeated every ``period`` s if given.

    A rate of 0 is an outage; it has to end.
    """

    points: tuple[tuple[float, float], ...] = Field(alias="trace")
    period: float | None = None

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)

    @classmethod
    def of(cls, value: Any) -> Self:
        """From a constant rate (number or text), the path of a CSV file, a list of points, a dict or a Trace."""
        match value:
            case cls():
                return value
            case {**keys}:
                return cls(**{str(key): part for key, part in keys.items()})
            case list() | tuple() | Path():
                return cls(trace=value)
            case str() if value.endswith(".csv"):
                return cls(trace=value)
        rate = units.rate(value)
        require(rate > 0, f"{value!r} never delivers anything; give a rate above 0, like '1 MB/s'.")
        return cls(trace=[(0, rate)])

    @field_validator("points", mode="before")
    @classmethod
    def _read(cls, value: Any) -> tuple[tuple[float, float], ...]:
        rows = _csv(value) if isinstance(value, str | Path) else value
        require(
            isinstance(rows, list | tuple) and len(rows) > 0, "a trace needs points, like [[0, 1 MB/s], [10, 2 MB/s]]."
        )
        points = tuple(_point(row) for row in rows)
        require(points[0][0] == 0, f"the first point is at {points[0][0]:g} s; let the trace begin at 0.")
        for (before, _), (after, _) in pairwise(points):
            require(before < after, f"time {after:g} s follows {before:g} s; sort the points by time.")
        return points

    @field_validator("period", mode="before")
    @classmethod
    def _period(cls, value: Any) -> float | None:
        return None if value is None else units.duration(value)

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.period is None:
            require(
                self.points[-1][1] > 0, "trace: the last rate is 0, so nothing ever arrives; end with a rate above 0."
            )
            return self
        last = self.points[-1][0]
        require(self.period > last, f"period: {self.period:g} s must be longer than the last point, at {last:g} s.")
        require(any(rate > 0 for _, rate in self.points), "trace: every rate is 0; give at least one above 0.")
        return self

    def rate(self, moment: float) -> float:
        """Bytes/s at ``moment`` seconds."""
        return self.points[self._index(moment)][1]

    def finish(self, start: float, size: float) -> float:
        """When ``size`` bytes are sent if the first one goes out at ``start`` >= 0."""
        if self.period is not None:
            cycles, start, size = self._skip(start, size)
        else:
            cycles = 0.0
        moment, index = start, self._index(start)
        while size > 0:
            rate, end = self.points[index][1], self._end(index)
            if rate * (end - moment) >= size:
                return cycles + moment + size / rate
            size -= rate * (end - moment)
            moment, index = end, index + 1
            if index == len(self.points):
                cycles, moment, index = cycles + end, 0.0, 0
        return cycles + moment

    def _skip(self, start: float, size: float) -> tuple[float, float, float]:
        # Whole cycles by arithmetic: time before the cycle of the last byte, start within it, bytes left.
        assert self.period is not None
        begun, within = divmod(start, self.period)
        volume = sum(rate * (self._end(i) - time) for i, (time, rate) in enumerate(self.points))
        whole = max(0.0, size // volume - 1)
        return (begun + whole) * self.period, within, size - whole * volume

    def _end(self, index: int) -> float:
        if index + 1 < len(self.points):
            return self.points[index + 1][0]
        return float("inf") if self.period is None else self.period

    def _index(self, moment: float) -> int:
        within = moment % self.period if self.period else moment
        return bisect_right(self.points, within, key=lambda point: point[0]) - 1


def _point(row: Any) -> tuple[float, float]:
    require(
        isinstance(row, list | tuple) and len(row) == 2,
        f"{row!r} is not a point; write [time, rate], like [10 s, 1 MB/s].",
    )
    time, rate = (part.strip() if isinstance(part, str) else part for part in row)
    return units.duration(time), units.rate(rate)


def _csv(path: str | Path) -> list[list[str]]:
    file = FOLDER.get() / path
    try:
        rows = [row for row in csv.reader(file.read_text(encoding="utf-8").splitlines()) if row and row[0][:1] != "#"]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text file"
        raise UsageError(
            f"{str(file)!r} cannot be read ({reason}); give the path of a CSV file with time and rate."
        ) from None
    if rows and rows[0][0].strip().lower() in ("time", "t", "seconds", "s"):
        rows = rows[1:]
    return [list(row) for row in rows]
