"""Figures for papers and docs: score by number of agents, as PNG and SVG. Needs matplotlib, without a display."""

from pathlib import Path
from typing import Any

from aiflow.bench.results import Results
from aiflow.errors import UsageError

BASELINES = {"oracle": "-", "best_single": "--", "self_moa": ":"}


def plot(results: Results, folder: Path) -> Path:
    """Writes ``<suite>-agents.png`` and ``.svg`` to ``folder``. Raises UsageError when the run has no curve."""
    if not results.curve:
        raise UsageError("this run has no agent-count curve to plot; run the suite without --quick.")
    figure, (axes,) = panels(1)
    _draw(axes, results)
    return save(figure, folder / f"{results.suite}-agents.png")


def panels(count: int) -> tuple[Any, list[Any]]:
    """A figure with axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * count + 1.4 * (count == 1), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    found: list[Any] = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def save(figure: Any, path: Path) -> Path:
    """Writes the PNG ``path`` and an SVG beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)
    figure.savefig(path.with_suffix(".svg"))
    return path


def _draw(axes: Any, results: Results) -> None:
    counts = [size.agents for size in results.curve]
    for label, colour, sizes in (
        ("agents added in order", "#0f8a5f", [size.score for size in results.curve]),
        ("mean of circular orders", "#2f7fb8", [size.mean for size in results.curve]),
    ):
        below = [e.value - e.lo for e in sizes]
        above = [e.hi - e.value for e in sizes]
        values = [e.value for e in sizes]
        axes.errorbar(counts, values, yerr=[below, above], label=label, color=colour, marker="o", capsize=3)
    baselines = [row for row in results.rows if row.key in BASELINES]
    for row in sorted(baselines, key=lambda row: -row.score.value):
        label = f"{row.name}, {row.score.value:.1f}"
        axes.axhline(row.score.value, color="#888888", linestyle=BASELINES[str(row.key)], linewidth=1, label=label)
    axes.set_xlabel("agents")
    axes.set_ylabel(f"score, {results.unit}")
    axes.set_xticks(counts)
    axes.set_ylim(0, results.best)
    axes.legend(frameon=False, loc="upper left", fontsize=8)
