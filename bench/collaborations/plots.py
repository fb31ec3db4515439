"""A figure of what collaborations of recorded agents are worth: difference to the best member, with its interval."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiflow.bench.plots import panels, save

COLOURS = {"won": "#1a7f37", "tied": "#8c959f", "lost": "#cf222e"}


def plot(found: Mapping[str, Any], folder: Path) -> Path:
    """Draws what ``measure`` returned as ``collaborations.png`` in ``folder``; differences in points of 100."""
    rows = sorted(found["rows"], key=lambda row: _share(row, row["difference"]))
    figure, (axes,) = panels(1)
    figure.set_size_inches(8, 0.28 * len(rows) + 1.2)
    for place, row in enumerate(rows):
        lo, hi = (_share(row, end) for end in row["difference_ci"])
        colour = COLOURS[row["verdict"]]
        axes.plot([lo, hi], [place, place], color=colour, linewidth=2, alpha=0.6)
        axes.plot(_share(row, row["difference"]), place, "o", color=colour, markersize=5)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row["board"] for row in rows], fontsize=8)
    axes.set_xlabel("points of 100 above the best member (in hindsight), 95 % interval")
    return save(figure, folder / "collaborations.png")


def _share(row: Mapping[str, Any], value: float) -> float:
    """A figure of a row in points of 100: MME's are of 2,800, MT-Bench's of 10."""
    unit = str(row["unit"])
    return value if unit == "%" else 100 * value / float(unit.lstrip("/"))
