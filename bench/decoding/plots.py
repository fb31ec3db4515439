"""Figures of ``aiflow bench decoding``: speed-up against draft length (Fig. 6's form), and against the round trip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiflow.bench.decoding.curves import SERVER
from aiflow.bench.plots import panels, save

COLOURS = ("#0f8a5f", "#2f7fb8", "#c2571a", "#7a4fa3", "#888888")


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """One file for each part that was measured and has a curve."""
    found = []
    if "lengths" in result:
        found.append(_lengths(result["lengths"], folder / "decoding-lengths.png"))
    if "breakeven" in result:
        found.append(_breakeven(result["breakeven"], folder / "decoding-breakeven.png"))
    return found


def _lengths(found: Sequence[dict[str, Any]], path: Path) -> Path:
    figure, every = panels(len(found))
    for axes, one in zip(every, found, strict=True):
        for colour, optimum in zip(COLOURS, one["optima"], strict=False):
            rows = [r for r in one["rows"] if r["rate"] == optimum["rate"]]
            x, y = [r["length"] for r in rows], [1e3 * r["seconds"] for r in rows]
            axes.plot(x, y, color=colour, marker="o", markersize=3, label=f"{optimum['rate'] / 1e6:g} MB/s")
            axes.plot(x, [1e3 * r["formula"] for r in rows], color=colour, linestyle=":", linewidth=1)
        axes.axhline(1e3 * SERVER, color="#222222", linestyle="--", linewidth=1, label="server alone")
        axes.set_title(f"accepted {100 * one['alpha']:.0f} %", fontsize=9)
        axes.set_xlabel("draft length, tokens (dotted: formula)")
        axes.set_ylabel("ms per token")
        axes.set_ylim(0)
    every[0].legend(frameon=False, fontsize=8)
    return save(figure, path)


def _breakeven(found: dict[str, Any], path: Path) -> Path:
    figure, (axes,) = panels(1)
    for colour, alpha in zip(COLOURS, sorted({r["alpha"] for r in found["rows"]}, reverse=True), strict=False):
        rows = [r for r in found["rows"] if r["alpha"] == alpha]
        x, y = [1e3 * r["rtt"] for r in rows], [r["speedup"] for r in rows]
        axes.plot(x, y, color=colour, marker="o", markersize=3, label=f"accepted {100 * alpha:.0f} %")
    axes.axhline(1, color="#222222", linestyle="--", linewidth=1)
    axes.set_xlabel("round trip, ms (a server round: 40 ms)")
    axes.set_ylabel("speed-up over the server alone")
    axes.set_ylim(0)
    axes.legend(frameon=False, fontsize=8)
    return save(figure, path)
