"""Figures of the family's quality against its parameters, as PNG and SVG. Needs matplotlib, without a display."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiflow.bench.familial.eesb import GROUPS
from aiflow.bench.plots import panels, save
from aiflow.errors import UsageError

TITLES = {"general": "six general forms", "information": "three information forms", "all": "all nine forms"}
LINES = (("branch", "EESB", "#0f8a5f", "o", "-"), ("bare", "early exit without branch", "#b8562f", "s", "--"))


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Writes ``familial-eesb`` and ``familial-hpcd``, whichever was measured, and returns the PNG files.

    Raises UsageError when neither was.
    """
    made = []
    if "eesb" in result:
        figure, axes = panels(len(GROUPS))
        for one, group in zip(axes, GROUPS, strict=True):
            _eesb(one, result["eesb"]["members"], group)
        axes[-1].legend(frameon=False, loc="lower right", fontsize=8)
        made.append(save(figure, folder / "familial-eesb.png"))
    if "hpcd" in result:
        figure, axes = panels(1)
        _hpcd(axes[0], result)
        made.append(save(figure, folder / "familial-hpcd.png"))
    if not made:
        raise UsageError("there is nothing to plot; measure the part eesb or hpcd.")
    return made


def _eesb(axes: Any, members: Sequence[dict[str, Any]], group: str) -> None:
    """Fig. 9's form: accuracy against parameters; the band is between the worst and the best seed."""
    full = members[-1]
    for kind, label, colour, marker, line in LINES:
        rows = [row for row in members if row["kind"] in (kind, "full")]
        x = [row["parameters"] / 1e6 for row in rows]
        seeds = [row["scores"][group]["by_seed"] for row in rows]
        y = [100 * row["scores"][group]["value"] for row in rows]
        axes.plot(x, y, label=label, color=colour, marker=marker, linestyle=line, markersize=4)
        low, high = [100 * min(s) for s in seeds], [100 * max(s) for s in seeds]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    parts = [row for row in members if row["kind"] == "part"]
    x, y = [row["parameters"] / 1e6 for row in parts], [100 * row["scores"][group]["value"] for row in parts]
    axes.plot(x, y, label="EESB, part of a branch", color="#0f8a5f", marker="o", linestyle="", mfc="none", markersize=4)
    axes.axhline(100 * full["scores"][group]["value"], color="#888888", linestyle=":", linewidth=1, label="full model")
    axes.set_title(TITLES[group], fontsize=10)
    _label(axes, "average accuracy, %")


def _hpcd(axes: Any, result: dict[str, Any]) -> None:
    rows, dense = result["hpcd"], result["hpcd_summary"]["dense"]
    x, y = [row["parameters"] / 1e6 for row in rows], [100 * row["score"] for row in rows]
    below = [100 * (row["score"] - row["ci"][0]) for row in rows]
    above = [100 * (row["ci"][1] - row["score"]) for row in rows]
    axes.errorbar(x, y, yerr=[below, above], label="HPCD", color="#2f7fb8", marker="o", capsize=3)
    if dense["score"] is not None:
        label = f"dense, {dense['parameters'] / 1e6:.1f} M"
        axes.axhline(100 * dense["score"], color="#888888", linestyle=":", linewidth=1, label=label)
    _label(axes, "average score, six text suites, %")
    axes.legend(frameon=False, loc="lower right", fontsize=8)


def _label(axes: Any, what: str) -> None:
    axes.set_xlabel("parameters, millions")
    axes.set_ylabel(what)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
