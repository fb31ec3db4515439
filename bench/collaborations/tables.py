"""The paper's Tables III, IV, V and VI in their own form, on recorded agents (AI Flow, section IV).

Rows are the recorded models, the collaboration that ``protocol.find`` finds on one half of the questions and reports on
the other, and the bounds beside it. Recorded models differ from suite to suite, so most rows of Table III have gaps.
"""

import json as jsonlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aiflow.bench.collaborations import boards
from aiflow.bench.collaborations.board import Board, Ints
from aiflow.bench.collaborations.protocol import Finding, find
from aiflow.bench.collaborations.subsets import subsets
from aiflow.bench.results import Results
from aiflow.bench.views import as_json
from aiflow.errors import UsageError, suggest

if TYPE_CHECKING:
    from rich.console import Console

Number = Literal["III", "IV", "V", "VI"]
Figures = Mapping[str, float | None]
Column = Callable[[Board, Ints], Figures]
OURS, BEST, ORACLE = "collaboration", "best single in hindsight", "oracle"
TEXT, VISUAL = ("cot", "small"), ("mmmu", "all")
"""The boards of Tables V and VI: (name, pool)."""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table in the paper's form: row -> column -> figure (None: not recorded); or Results where it has parts."""

    number: Number
    title: str
    columns: Sequence[str] = ()
    rows: Mapping[str, Figures]
    parts: Sequence[Results] = ()
    notes: Sequence[str] = ()

    def json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "table": self.number,
            "title": self.title,
            "columns": list(self.columns),
            "rows": {name: dict(row) for name, row in self.rows.items()},
            "parts": [as_json(part) for part in self.parts],
            "notes": list(self.notes),
        }

    def show(self, console: "Console") -> None:
        """Prints it."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        from aiflow.bench import table as plain

        if self.rows:
            table = Table(title=f"Table {self.number}. {self.title}", title_justify="left", box=SIMPLE_HEAD)
            for name in ("", *self.columns):
                table.add_column(name, justify="right" if name else "left", overflow="fold")
            for name, row in self.rows.items():
                found = [row.get(column) for column in self.columns]
                table.add_row(name, *("" if v is None else f"{v:.4g}" if abs(v) < 1 else f"{v:.2f}" for v in found))
            console.print(table)
        for part in self.parts:
            plain.show(part, console)
        for note in self.notes:
            console.print(f"- {note}", markup=False)


def table(number: Number, data: Path | None = None, seed: int = 0) -> PaperTable:
    """One of the paper's tables on recorded agents; ``data`` as for ``measure``. Raises DataError."""
    makers: Mapping[Number, Callable[[Path | None, int], PaperTable]] = {
        "III": _text,
        "IV": _visual,
        "V": partial(_fewer, "V"),
        "VI": partial(_fewer, "VI"),
    }
    return makers[number](data, seed)


def numbered(number: str) -> Number:
    """``iii`` or ``3`` as ``III``. Raises UsageError."""
    known: dict[str, Number] = {"III": "III", "IV": "IV", "V": "V", "VI": "VI"}
    known |= {"3": "III", "4": "IV", "5": "V", "6": "VI"}
    if number.upper() not in known:
        raise UsageError(f"there is no table {number!r}; {suggest(number.upper(), list(known))}")
    return known[number.upper()]


def main(number: str, *, data: Path | None = None, seed: int = 0, json: bool = False) -> PaperTable:
    """Prints a table on stdout; with ``json`` the table goes to stderr and the JSON line to stdout."""
    from rich.console import Console

    from aiflow.bench.provenance import provenance

    found = table(numbered(number), data, seed)
    console = Console(stderr=json)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    found.show(console)
    if json:
        print(jsonlib.dumps(found.json() | provenance(), allow_nan=False))
    return found


def _text(data: Path | None, seed: int) -> PaperTable:
    suites: Mapping[str, Column] = {"mt-bench": _rated, "alpaca-eval": _compared, "arena-hard": _battled}
    columns = ("turn 1", "turn 2", "MT-Bench", "LC", "win", "Arena-Hard")
    rows, notes = _rows(data, seed, suites)
    for row in rows.values():
        parts = [row.get("MT-Bench"), row.get("win"), row.get("Arena-Hard")]
        known = [part for part in parts if part is not None]
        row["Agg."] = (10 * known[0] + known[1] + known[2]) / 3 if len(known) == 3 else None
    return PaperTable(
        number="III",
        title="Collaboration of language models, MT-Bench, AlpacaEval 2.0, Arena-Hard",
        columns=(*columns, "Agg."),
        rows=rows,
        notes=[*notes, "Agg.: mean of 10 x MT-Bench, win rate and Arena-Hard, as in the paper."],
    )


def _visual(data: Path | None, seed: int) -> PaperTable:
    from aiflow.bench.collaborations.boards.vqa import SUITES

    suites: dict[str, Column] = {name.lower(): partial(_seen, name) for name in (*SUITES, "MMMU")}
    rows, notes = _rows(data, seed, suites)
    columns = ["MME-P", "MME-R", *(name for name in (*SUITES, "MMMU") if name != "MME")]
    title = "Collaboration of vision-language models"
    return PaperTable(number="IV", title=title, columns=columns, rows=rows, notes=notes)


def _fewer(number: Number, data: Path | None, seed: int) -> PaperTable:
    found = [boards.pooled(boards.load(name, data), pool) for name, pool in (TEXT, VISUAL)]
    parts = [subsets(board, seed=seed, curve=number == "V", ablation=number == "VI") for board in found]
    title = "Number of agents" if number == "V" else "Without each agent, and with only one"
    return PaperTable(number=number, title=title, rows={}, parts=parts)


def _rows(data: Path | None, seed: int, suites: Mapping[str, Column]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    rows: dict[str, dict[str, Any]] = {}
    bounds: dict[str, dict[str, Any]] = {name: {} for name in (OURS, BEST, ORACLE)}
    notes = []
    for name, figures in suites.items():
        board = boards.pooled(boards.load(name, data), "all")
        finding = find(board, seed=seed)
        for m, member in enumerate(board.members):
            rows.setdefault(member, {}).update(figures(board, board.alone(m)))
        best = board.alone(board.best_single())
        for row, who_Q in ((OURS, finding.who_Q), (BEST, best), (ORACLE, board.oracle())):
            bounds[row].update(figures(board, who_Q))
        notes.append(_told(finding))
    return rows | bounds, notes


def _told(finding: Finding) -> str:
    bar = finding.hindsight
    lo, hi = bar.difference.lo, bar.difference.hi
    methods = " / ".join(dict.fromkeys(one.method.name for one in finding.directions))
    return (
        f"{finding.board.name}: {methods}; against {bar.name} {bar.difference.value:+.2f} [{lo:+.2f}, {hi:+.2f}], "
        f"p = {bar.p:.4f}: {finding.verdict}."
    )


def _rated(board: Board, who_Q: Ints) -> Figures:
    found = board.figures(board, who_Q) if board.figures else {}
    return {"turn 1": found["turn_1"], "turn 2": found["turn_2"], "MT-Bench": found["average"]}


def _compared(board: Board, who_Q: Ints) -> Figures:
    found = board.figures(board, who_Q) if board.figures else {}
    return {"LC": found["length_controlled_winrate"], "win": board.score(who_Q)}


def _battled(board: Board, who_Q: Ints) -> Figures:
    return {"Arena-Hard": board.score(who_Q)}


def _seen(name: str, board: Board, who_Q: Ints) -> Figures:
    if name == "MME" and board.figures:
        found = board.figures(board, who_Q)
        return {"MME-P": found["perception"], "MME-R": found["cognition"]}
    scale = {"SEEDBench": 0.01, "MMMU": 0.01, "OCRBench": 10.0}.get(name, 1.0)
    return {name: scale * board.score(who_Q)}
