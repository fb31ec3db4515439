"""What a run found, ready to be shown: rows in the form of the paper's Table III, curve, ablation, differences.

The terminal table, the JSON line and the HTML report are three views of ``Results``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from aiflow.bench import stats
from aiflow.bench.stats import Estimate, Floats
from aiflow.bench.subjects import total
from aiflow.bench.suite import Record


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. Costs are per question (all turns); None where they are another row's or unknown.

    ``latency`` and ``loaded`` are median seconds per turn, one question at a time and with many in flight.

    ``key`` names the row in the JSON form, e.g. ``merged``.
    """

    name: str
    group: str
    turns: tuple[float, ...]
    score: Estimate
    latency: float | None = None
    loaded: float | None = None
    bytes: float | None = None
    links: Mapping[str, float] = field(default_factory=dict)
    tokens: float | None = None
    errors: int = 0
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Quality with ``agents`` agents: over one stated order of adding them, and the mean over several orders."""

    agents: int
    members: tuple[str, ...]
    score: Estimate
    mean: Estimate


@dataclass(frozen=True, kw_only=True)
class Ablated:
    """Quality without one agent, or with only one."""

    name: str
    members: tuple[str, ...]
    score: Estimate
    difference: Estimate


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that one run found. ``run`` says what produced it; ``notes`` what a reader must know to trust it.

    ``models``: subject -> the figures that the benchmark publishes, under their published names.
    """

    title: str
    suite: str
    questions: int
    best: float
    unit: str
    rows: Sequence[Row]
    differences: Mapping[str, Estimate] = field(default_factory=dict)
    curve: Sequence[Size] = ()
    ablation: Sequence[Ablated] = ()
    notes: Sequence[str] = ()
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digits(self) -> int:
        """How many digits behind the point a score deserves."""
        return 2 if self.best <= 10 else 1

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        """The rows by group, in order."""
        return [(group, list(rows)) for group, rows in groupby(self.rows, key=lambda row: row.group)]

    def row(self, name: str, group: str) -> Row:
        """The row of that name in a group. Raises KeyError."""
        for row in self.rows:
            if (row.name, row.group) == (name, group):
                return row
        raise KeyError(f"{group}/{name}")


def scores(records: Iterable[Record]) -> Floats:
    """The scores of a subject, ``s_QT``: questions by turns; NaN where no judgment could be read."""
    return np.array([[turn.score for turn in record.turns] for record in records], dtype=np.float64)


def row(name: str, group: str, s_QT: Floats, seed: int, drawn: stats.Groups | None = None, **more: Any) -> Row:
    """A row from scores per question and turn; ``drawn``: the questions' groups, each drawn as one."""
    turns = tuple(float(t) for t in stats.known_mean(s_QT, 0))
    score = stats.mean(stats.known_mean(s_QT, 1), seed, groups=drawn)
    return Row(name=name, group=group, turns=turns, score=score, **more)


def costs(records: Sequence[Record]) -> dict[str, Any]:
    """What a subject cost, as the fields of a Row: median seconds per turn; bytes and tokens per question; errors."""
    turns = [turn for record in records for turn in record.turns]
    waits = [turn.seconds for turn in turns if not (turn.error or turn.reused)]
    links = {link: count / len(records) for link, count in total(turn.bytes for turn in turns).items()}
    return {
        "latency": stats.percentile(waits, 50) if waits else None,
        "bytes": float(sum(links.values())),
        "links": links,
        "tokens": sum(turn.tokens for turn in turns) / len(records),
        "errors": sum(bool(turn.error) for turn in turns),
    }


def circular(names: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """The runs of ``size`` neighbours in a circle of names, one from each start: abc, 2 -> ab, bc, ca."""
    double = (*names, *names)
    return [tuple(double[start : start + size]) for start in range(len(names))]


Value = Callable[[frozenset[str]], Floats]
"""The score of each question with those agents."""


def curve(names: Sequence[str], value: Value, seed: int) -> list[Size]:
    """Table V's form: with 1, 2, ... agents, in the order of ``names`` and over the circular orders."""
    sizes = []
    for size in range(1, len(names) + 1):
        orders = [value(frozenset(members)) for members in circular(names, size)]
        score, mean = stats.mean(orders[0], seed), stats.mean(np.mean(orders, axis=0), seed)
        sizes.append(Size(agents=size, members=tuple(names[:size]), score=score, mean=mean))
    return sizes


def ablation(names: Sequence[str], value: Value, seed: int) -> list[Ablated]:
    """Table VI's form: with all, without each, with each only, and the paired difference to all."""
    everyone = frozenset(names)
    parts = {"all": everyone}
    parts |= {f"w/o {name}": everyone - {name} for name in names}
    parts |= {f"only {name}": frozenset({name}) for name in names}
    whole_Q = value(everyone)
    return [
        Ablated(
            name=name,
            members=tuple(sorted(members)),
            score=stats.mean(value(members), seed),
            difference=stats.difference(value(members), whole_Q, seed),
        )
        for name, members in parts.items()
    ]
