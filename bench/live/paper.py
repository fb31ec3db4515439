"""The paper's Tables III to VI (AI Flow: Perspectives, Scenarios, and Approaches) asked of real agents, suite by suite.

III: LLMs alone and after the collaboration on three text suites; IV: VLMs on suites of images; V: by the number of
agents; VI: without each agent, and with each only. Each suite is a run of its own in the table's folder.
"""

import json as jsonlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.bench.collaborations.tables import Number, numbered
from aiflow.bench.live import Live
from aiflow.bench.live.team import GRAPH, MERGED, SELF_MOA
from aiflow.bench.plain import plain
from aiflow.bench.results import Results
from aiflow.bench.suites.command import asked
from aiflow.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table as Rich

TEXT = ("mt-bench", "alpaca-eval", "arena-hard")
VQA = ("MME", "SEEDBench_IMG", "MMBench_DEV_EN", "OCRBench", "AI2D_TEST", "MMMU_DEV_VAL")
FIGURES: Mapping[str, tuple[str, ...]] = {
    "mt-bench": ("turn_1", "turn_2", "average"),
    "alpaca-eval": ("length_controlled_winrate", "win_rate"),
    "arena-hard": ("score",),
    "MME": ("perception", "cognition"),
}
"""What a table shows of a suite's published figures; of other suites, the score."""
AGGREGATED = {"mt-bench": ("average", 10.0), "alpaca-eval": ("win_rate", 1.0), "arena-hard": ("score", 1.0)}
"""Table III's last column: the mean of these, MT-Bench's times 10. Seven of the paper's eight rows come out so; the
first does with the length-controlled win rate, so its two AlpacaEval columns are probably exchanged."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table's rows: name -> suite -> figure -> value."""

    number: Number
    suites: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]]
    runs: Mapping[str, str]

    def json(self) -> dict[str, Any]:
        """As one JSON object."""
        rows = [{"name": name, **figures, "aggregate": aggregate(figures)} for name, figures in self.rows.items()]
        return {"table": self.number, "suites": list(self.suites), "rows": rows, "runs": dict(self.runs)}


def aggregate(figures: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The mean over the three text suites in percent; None where one is missing."""
    total = 0.0
    for suite, (name, scale) in AGGREGATED.items():
        value = figures.get(suite, {}).get(name)
        if value is None:
            return None
        total += scale * float(value)
    return total / len(AGGREGATED)


def main(
    number: str, live: Live, *, suites: Sequence[str], data: Path | None, limit: int | None = None, json: bool = False
) -> Table:
    """Runs the table's suites one after the other and prints it. Raises UsageError, and what runs raise.

    ``suites``: others than the table's own; ``data``: the folder with a folder or file for each.
    """
    table = make(numbered(number), live, suites=suites, data=data, limit=limit)
    _show(table, stderr=json)
    if json:
        print(jsonlib.dumps(plain(table.json()), allow_nan=False))
    return table


def make(number: Number, live: Live, *, suites: Sequence[str], data: Path | None, limit: int | None) -> Table:
    """The table, from one run for each suite."""
    chosen = tuple(suites) or (TEXT if number in ("III", "V") else VQA)
    if not live.server and not live.graph:
        raise UsageError("a collaboration needs a --server and devices by --model, or a --graph.")
    counted = number in ("V", "VI")
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    runs: dict[str, str] = {}
    root = live.resume or live.out / f"table-{number}"
    for suite in chosen:
        here = replace(live, curve=counted, out=root / suite, resume=_begun(root / suite))
        outcome = asked(suite, here, data=data, limit=limit)
        runs[suite] = str(outcome.folder)
        names = {"III": _everybody, "IV": _everybody, "V": _sizes, "VI": _parts}[number](outcome.results)
        for row, subject in names.items():
            found = outcome.results.models[subject]
            rows.setdefault(row, {})[suite] = {name: found.get(name) for name in FIGURES.get(suite, ("score",))}
    return Table(number=number, suites=chosen, rows=rows, runs=runs)


def _begun(folder: Path) -> Path | None:
    """The unfinished or finished run of a suite in the table's folder."""
    return next((path.parent for path in sorted(folder.glob("*/header.json"), reverse=True)), None)


def _everybody(results: Results) -> dict[str, str]:
    return {name: name for name in results.models if not name.startswith(f"{MERGED} (")}


def _sizes(results: Results) -> dict[str, str]:
    last = len(results.curve)
    return {str(s.agents): MERGED if s.agents == last else f"{MERGED} ({' + '.join(s.members)})" for s in results.curve}


def _parts(results: Results) -> dict[str, str]:
    order = list(results.curve[-1].members)
    named = {
        frozenset(name.removeprefix(f"{MERGED} (").removesuffix(")").split(" + ")): name for name in results.models
    }
    return {
        part.name: MERGED if len(part.members) == len(order) else named[frozenset(part.members)]
        for part in results.ablation
    }


def _show(table: Table, *, stderr: bool) -> None:
    from rich.console import Console

    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    console.print(_drawn(table))


def _drawn(table: Table) -> "Rich":
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table as Rich

    heads = [(suite, name) for suite in table.suites for name in FIGURES.get(suite, ("score",))]
    drawn = Rich(title=f"Table {table.number}", title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    drawn.add_column("agents" if table.number == "V" else "model", no_wrap=True)
    for suite, name in heads:
        drawn.add_column(escape(f"{suite}\n{name}"), justify="right")
    drawn.add_column("Agg.", justify="right")
    for row, figures in table.rows.items():
        style = "bold green" if row in (MERGED, GRAPH) else "dim" if row == SELF_MOA else None
        values = [*(figures.get(suite, {}).get(name) for suite, name in heads), aggregate(figures)]
        drawn.add_row(escape(row), *("–" if v is None else f"{v:.2f}" for v in values), style=style)
    return drawn
