"""The terminal's view of a comparison of two runs. ``aiflow compare A B``."""

import json as jsonlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from aiflow.bench.report.compare import compare_runs
from aiflow.units import show_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Told = Mapping[str, Any]
SURE = 0.05


def main_compare(a: Path, b: Path, json: bool = False, out: Path | None = None) -> dict[str, Any]:
    """``aiflow compare A B``: the tables on stdout; with ``json`` on stderr, and the JSON as stdout's last line.

    ``out``: where to write both runs as one page, question by question. Raises DataError for runs that cannot be
    compared.
    """
    from rich.console import Console

    told = compare_runs(a, b)
    console = Console(stderr=json)
    if not console.is_terminal:
        console.width = max(console.width, 140)
    show_comparison(told, console)
    if out:
        from aiflow.bench.report.side_by_side import write_comparison

        print(f"page: {write_comparison(a, b, out)}", file=sys.stderr)
    if json:
        print(jsonlib.dumps(told))
    return told


def show_comparison(told: Told, console: "Console") -> None:
    """Prints scores, costs and categories of all pairs, and the questions that differ most."""
    digits = 2 if told["best"] <= 10 else 1
    for side in ("a", "b"):
        run = told[side]
        state = "" if run["status"] == "success" else f", {run['status']}"
        console.print(
            f"[b]{side.upper()}[/b] {escape(run['run'])}: {run['questions']} questions{state}", soft_wrap=True
        )
    found = [pair for pair in told["subjects"] if pair["n"]]
    console.print(_scores(told, digits), soft_wrap=True)
    if any(pair["costs"] for pair in found):
        console.print(_costs(told), soft_wrap=True)
    for pair in found if len(found) <= 3 else ():
        if len(pair["categories"]) > 1:
            console.print(_categories(pair, digits), soft_wrap=True)
        if pair["most"]:
            console.print(f"{escape(pair['b'])}: the questions that differ most", highlight=False)
        for line in pair["most"]:
            change = f"{line['a']:.{digits}f} -> {line['b']:.{digits}f}"
            console.print(f"  {escape(line['id'])} ({escape(line['category'])}): {change}", highlight=False)
    for note in _notes(told):
        console.print(f"[dim]· {escape(note)}[/dim]", highlight=False, soft_wrap=True)


def _scores(told: Told, digits: int) -> "Table":
    heads = (
        "model",
        "n",
        f"A {told['unit']}",
        f"B {told['unit']}",
        "B - A",
        "95 % CI",
        "p",
        "B wins",
        "ties",
        "A wins",
    )
    table = _table(f"{told['suite']} · {told['n']} common questions", heads)
    for pair in told["subjects"]:
        name = pair["a"] if pair["a"] == pair["b"] else f"{pair['a']} / {pair['b']}"
        cells = _line(pair, digits) if pair["n"] else ["0"]
        table.add_row(escape(name), *cells, style=_style(pair))
    return table


def _categories(pair: Told, digits: int) -> "Table":
    heads = ("category", "n", "A", "B", "B - A", "95 % CI", "p", "B wins", "ties", "A wins")
    table = _table(f"{pair['b']}: by category", heads)
    for name, found in pair["categories"].items():
        table.add_row(escape(name), *_line(found, digits), style=_style(found))
    return table


def _costs(told: Told) -> "Table":
    table = _table("Costs per question", ("model", "cost", "A", "B", "B - A", "95 % CI"))
    for pair in told["subjects"]:
        for name, cost in pair.get("costs", {}).items():
            a, b, change, lo, hi = (
                _cost(name, v) for v in (cost["a"], cost["b"], cost["difference"], *cost["difference_ci"])
            )
            table.add_row(
                escape(pair["b"]), name, a, b, f"{'+' if cost['difference'] > 0 else ''}{change}", f"\\[{lo}, {hi}]"
            )
    return table


def _cost(name: str, value: float) -> str:
    if name == "bytes":
        return f"-{show_bytes(-value)}" if value < 0 else show_bytes(value)
    return f"{value:.2f}" if name == "seconds" else f"{value:.0f}"


def _notes(told: Told) -> list[str]:
    notes = [
        "95 % intervals: paired bootstrap over questions; p: random signs of the differences. Groups stay together."
    ]
    if told["changed"]:
        notes.append(f"{told['changed']} questions of the same id read differently in the two runs; they are left out.")
    for pair in told["subjects"]:
        for key, why in (
            ("unscored", "without a score in one of the runs"),
            ("missing", "not asked in one of the runs"),
        ):
            if pair[key]:
                notes.append(f"{pair['b']}: {pair[key]} common questions {why}; they are left out.")
        if pair["errors_a"] or pair["errors_b"]:
            notes.append(f"{pair['b']}: {pair['errors_a']} errors in A, {pair['errors_b']} in B, which score 0.")
    for side in ("a", "b"):
        if told[side]["unmatched"]:
            notes.append(f"Only in {side.upper()}: {', '.join(told[side]['unmatched'])}.")
    return notes


def _line(found: Told, digits: int) -> list[str]:
    lo, hi = found["difference_ci"]
    return [
        str(found["n"]),
        f"{found['mean_a']:.{digits}f}",
        f"{found['mean_b']:.{digits}f}",
        f"{found['difference']:+.{digits}f}",
        f"\\[{lo:+.{digits}f}, {hi:+.{digits}f}]",
        f"{found['p']:.3f}" if found["p"] >= 0.001 else "< 0.001",
        *(str(found[name]) for name in ("wins", "ties", "losses")),
    ]


def _style(found: Told) -> str | None:
    if not found["n"] or found["p"] >= SURE:
        return None
    return "green" if found["difference"] > 0 else "red"


def _table(title: str, heads: tuple[str, ...]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    return table
