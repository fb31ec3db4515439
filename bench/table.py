"""The terminal's view of Results: the paper's Tables III, V and VI with intervals and costs."""

import math
from typing import TYPE_CHECKING

from rich.markup import escape

from aiflow.bench.results import Results, Row
from aiflow.bench.stats import Estimate
from aiflow.units import show_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show(results: Results, console: "Console") -> None:
    """Prints the tables, the paired differences and the notes."""
    console.print(main_table(results), soft_wrap=True)
    for name, estimate in results.differences.items():
        console.print(f"  {name}: {signed(estimate, results.digits)}", highlight=False)
    if results.curve:
        console.print(curve_table(results))
    if results.ablation:
        console.print(ablation_table(results))
    for note in results.notes:
        console.print(f"[dim]· {escape(note)}[/dim]", highlight=False, soft_wrap=True)


def main_table(results: Results) -> "Table":
    """Table III's form: who, score by turn, mean with interval, and what it cost. Empty columns are left out."""
    turns = [f"turn {number}" for number, _ in enumerate(results.rows[0].turns, 1)]
    heads = ["model", *turns, f"avg {results.unit}", "95 % CI", "p50 s", "bytes/q", "tokens/q", "errors"]
    lines = [cells(row, results.digits) for row in results.rows]
    filled = [n for n in range(len(heads)) if any(line[n] for line in lines)]
    table = _table(f"{results.title} · {results.questions} questions")
    table.add_column(heads[0], overflow="ellipsis", no_wrap=True)
    for n in filled[1:]:
        width = max(len(heads[n]), *(len(line[n]) for line in lines))
        table.add_column(heads[n], justify="right", no_wrap=True, min_width=width)
    for group, rows in results.groups:
        table.add_section()
        table.add_row(f"[dim]{escape(group)}[/dim]")
        for row in rows:
            line = cells(row, results.digits)
            table.add_row(*(escape(line[n]) for n in filled), style="bold green" if row.key == "merged" else None)
    return table


def cells(row: Row, digits: int) -> list[str]:
    """A row as text, from its name on."""
    return [
        row.name,
        *(number(turn, digits) for turn in row.turns),
        number(row.score.value, digits),
        interval(row.score, digits),
        "" if row.latency is None else f"{row.latency:.2f}",
        "" if row.bytes is None else show_bytes(row.bytes),
        "" if row.tokens is None else f"{row.tokens:.0f}",
        str(row.errors),
    ]


def number(value: float, digits: int) -> str:
    """A figure as text; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def curve_table(results: Results) -> "Table":
    """Table V's form: the score by the number of agents."""
    table = _table("Number of agents")
    for name in ("agents", "added", f"score {results.unit}", "95 % CI", "mean of orders", "95 % CI"):
        table.add_column(name, justify="left" if name == "added" else "right")
    for size in results.curve:
        scores = [text for e in (size.score, size.mean) for text in (f"{e.value:.1f}", interval(e, 1))]
        table.add_row(str(size.agents), size.members[-1], *scores)
    return table


def ablation_table(results: Results) -> "Table":
    """Table VI's form: without each agent, and with only one."""
    table = _table("Ablation")
    for name in ("", f"score {results.unit}", "95 % CI", "against all", "95 % CI"):
        table.add_column(name, justify="right" if name else "left")
    for part in results.ablation:
        score, change = part.score, part.difference
        table.add_row(
            part.name, f"{score.value:.1f}", interval(score, 1), f"{change.value:+.1f}", interval(change, 1, "+")
        )
    return table


def interval(estimate: Estimate, digits: int, sign: str = "") -> str:
    """``[61.2, 68.9]``; empty without a value."""
    if math.isnan(estimate.value):
        return ""
    return f"[{estimate.lo:{sign}.{digits}f}, {estimate.hi:{sign}.{digits}f}]"


def signed(estimate: Estimate, digits: int) -> str:
    """``+20.3 [+15.1, +25.4]``."""
    return f"{estimate.value:+.{digits}f} {interval(estimate, digits, '+')}"


def _table(title: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
