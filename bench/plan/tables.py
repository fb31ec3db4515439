"""What `aiflow bench plan` prints and draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

FORMS = (
    ("vs_oracle", "the oracle"),
    ("vs_best_static", "the best way that meets every wish"),
    ("vs_helped", "the best way, the cloud where it does not"),
    ("vs_falling", "these, the device where they are late"),
    ("vs_by_class", "the best fixed way for each class"),
)


def ratio(result: Any) -> float:
    """Of the planner's seconds to the oracle's."""
    return float(sum(result.planner) / sum(result.oracle))


def show(found: dict[str, Any]) -> None:
    """Prints the traces and the means."""
    from rich.console import Console

    console = Console()
    console = console if console.is_terminal else Console(width=160)
    heads = (
        "trace",
        "planner, s",
        "oracle, s",
        *(n.removeprefix("vs_") for n, _ in FORMS),
        "best way (helped)",
        "tries",
        "probes",
    )
    rows = [
        [
            row["trace"],
            f"{row['planner_s']:.0f}",
            f"{row['oracle_s']:.0f}",
            *(f"{row[name]:.2f}" for name, _ in FORMS),
            row["helped"],
            str(row["second_tries"]),
            str(row["probes"]),
        ]
        for row in found["traces"]
    ]
    _table(console, f"Total latency, {found['requests']} requests a trace", heads, rows)
    means = [
        [words, f"{found[name]:.3f}", _interval(found[f"{name}_ci"]), f"{found[f'oracle_{name}']:.3f}"]
        for name, words in FORMS
    ]
    heads = ("over", "planner", "95 % CI", "oracle")
    _table(console, "Total latency over that of ..., mean of traces", heads, means)
    for name, one in found["overall"].items():
        print(f"  over one way for all traces ({name}): {one['ratio']:.3f} {_interval(one['ci'])}, {one['way']}")


def plot(found: dict[str, Any], folder: Path) -> None:
    """Writes ``planner.png``: each trace's ratios."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = sorted(found["traces"], key=lambda row: row["trace"])
    figure, axes = pyplot.subplots(figsize=(8, 3.6))
    for (name, words), mark in zip(FORMS, "os^dv", strict=True):
        axes.plot(range(len(rows)), [row[name] for row in rows], mark, label=f"over {words}")
    axes.axhline(1.0, color="grey", linewidth=0.8)
    axes.set_xticks(range(len(rows)), [row["trace"] for row in rows], rotation=60, ha="right", fontsize=7)
    axes.set_ylabel("planner's total latency over ...")
    axes.legend(fontsize=7)
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "planner.png", dpi=130)
    pyplot.close(figure)


def _table(console: Any, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in heads:
        table.add_column(name, justify="left" if name in ("trace", "over", "best way (helped)") else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _interval(ci: list[float] | None) -> str:
    return "" if ci is None else f"[{ci[0]:.3f}, {ci[1]:.3f}]"
