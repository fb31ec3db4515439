"""The map of ``aiflow bench motion``: over how many recorded pairs the serial collaboration pays."""

from collections.abc import Mapping
from pathlib import Path

from aiflow.bench.plots import panels, save

STYLES = {
    "ins_rec post": ("INS → REC, one hand-off", "#0f8a5f", "-"),
    "ins_rec loop": ("INS → REC, in every step", "#0f8a5f", "--"),
    "ins": ("INS alone", "#2f7fb8", "-"),
    "joint": ("one stage, as recorded", "#888888", "-"),
    "strong": ("one stage, interleaved", "#c2571a", "-"),
}
MEASURES = {"fid": "FID (lower is better)", "gap": "gap of hands that must touch, m", "r1": "R-Precision@1"}


def pairs_map(found: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path) -> Path | None:
    """Draws ``found``: recorded pairs -> row -> its numbers. None, and no file, for fewer than two amounts."""
    amounts = sorted((int(n) for n, rows in found.items() if rows))
    if len(amounts) < 2:
        return None
    figure, every = panels(len(MEASURES))
    for axes, (measure, label) in zip(every, MEASURES.items(), strict=True):
        for row, (name, colour, line) in STYLES.items():
            there = [n for n in amounts if row in found[str(n)]]
            axes.plot(there, [found[str(n)][row][measure] for n in there], line, color=colour, label=name, marker=".")
        axes.set_xscale("log")
        axes.set_xticks(amounts, [str(n) for n in amounts])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("recorded pairs")
        axes.set_ylabel(label)
    every[0].legend(frameon=False, fontsize=7)
    return save(figure, path)
