"""The table of collaborations of recorded agents in the terminal: what won, what tied, what lost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = (
    "board",
    "methods of half 1, half 2",
    "n",
    "best single",
    "collab.",
    "difference [95 % CI]",
    "p",
    "Holm",
    "won:lost",
    "half 1 (p)",
    "half 2 (p)",
    "plurality",
    "oracle",
    "cost",
    "splits",
)


def show(found: Mapping[str, Any], console: "Console") -> None:
    """Prints what ``measure`` returned: rows by verdict, and the notes."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    for verdict in ("won", "tied", "lost"):
        rows = [row for row in found["rows"] if row["verdict"] == verdict]
        table = Table(title=f"{verdict}: {len(rows)}", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
        for name in COLUMNS:
            table.add_column(name, justify="left" if name in COLUMNS[:2] else "right")
        for row in rows:
            table.add_row(*cells(row))
        if rows:
            console.print(table)
    for row in found["rows"]:
        rates = {who: figures.get("length_controlled_winrate") for who, figures in row["figures"].items()}
        if all(rates.values()) and rates:
            told = f"{rates['collaboration']:.2f}, best single {rates['best']:.2f}"
            console.print(f"- {row['board']}: length-controlled win rate {told}.", markup=False)
    for note in found["notes"]:
        console.print(f"- {note}", markup=False)
    console.print(f"- {len(found['candidates'])} candidates on each development half; {found['seconds']} s.")


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table."""
    digits = 0 if row["score"] > 200 else 2
    lo, hi = row["difference_ci"]
    robust, cost = row["robustness"], row["cost"]
    methods = list(dict.fromkeys(half["method"] for half in row["halves"]))
    return [
        row["board"],
        "; ".join(methods),
        str(row["units"]),
        f"{row['best_single']['score']:.{digits}f}",
        f"{row['score']:.{digits}f}",
        f"{row['difference']:+.{digits}f} [{lo:+.{digits}f}, {hi:+.{digits}f}]",
        f"{row['p']:.4f}",
        f"{row['p_holm']:.3f}",
        f"{row['units_won']}:{row['units_lost']}",
        *(f"{half['difference']:+.{digits}f} ({half['p']:.3f})" for half in row["halves"]),
        f"{row['plurality']:.{digits}f}",
        f"{row['oracle']:.{digits}f}",
        "/".join("?" if c is None else f"{c:.0f}" for c in (cost["collaboration"], cost["best_single"])),
        f"{robust['ahead']}/{robust['won']}/{robust['lost']} of {robust['splits']}" if robust else "",
    ]
