"""Figures of ``aiflow bench tofc``: accuracy against bytes (Fig. 4's form), latency against rate (Fig. 5's form)."""

from pathlib import Path
from typing import Any

from aiflow.bench.plots import panels, save

COLOURS = {"tofc": "#0f8a5f", "jpeg": "#c2571a", "webp": "#2f7fb8"}
NAMES = {"tofc": "features", "jpeg": "JPEG", "webp": "WebP"}
STYLES = ("-", "--", ":", "-.")
PARTS = {"device": "#0f8a5f", "link": "#c2571a", "server": "#b9bec6"}


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """One file for each part that was measured and has a curve."""
    found = []
    if "systems" in result:
        found.append(_rate(result, folder / "tofc-rate.png"))
    if "latency" in result:
        found.append(_latency(result, folder / "tofc-latency.png"))
    return found


def _rate(result: dict[str, Any], path: Path) -> Path:
    figure, (alone, merged) = panels(2)
    reference = next(row for row in result["systems"] if row["kind"] == "features" and not row["tokens"])
    counts = sorted({m["tokens"] for m in result["merged"]})
    for kind, colour in COLOURS.items():
        rows = [r for r in result["systems"] if r["kind"] == kind]
        first = rows if kind == "tofc" else [r for r in rows if not r["tokens"]]
        alone.plot([r["bytes"] for r in first], [100 * r["score"] for r in first], ".", color=colour, alpha=0.4)
        _curve(alone, first, color=colour, label=NAMES[kind])
        for style, count in zip(STYLES, counts, strict=False):
            some = [r for r in rows if r["tokens"] == count]
            _curve(merged, some, color=colour, linestyle=style, label=f"{count} tokens" if kind == "tofc" else None)
    for axes, title in ((alone, "pictures without merging"), (merged, "as many tokens on both sides")):
        axes.axhline(100 * reference["score"], color="#888888", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlabel("bytes of a picture (grey: uncompressed features)")
        axes.set_ylabel("mean score of nine forms, %")
        axes.set_title(title, fontsize=9)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    return save(figure, path)


def _curve(axes: Any, rows: list[dict[str, Any]], **style: Any) -> None:
    best = _frontier(rows)
    axes.plot([r["bytes"] for r in best], [100 * r["score"] for r in best], **style)


def _frontier(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda r: (r["bytes"], -r["score"])):
        if not kept or row["score"] > kept[-1]["score"]:
            kept.append(row)
    return kept


def _latency(result: dict[str, Any], path: Path) -> Path:
    figure, every = panels(2)
    for axes, key in zip(every, ("latency", "latency_nano"), strict=True):
        rows = result[key]
        for offset, prefix in ((-0.2, ""), (0.2, "upload_")):
            base = [0.0] * len(rows)
            for part, colour in PARTS.items():
                height = [1e3 * row.get(prefix + part, 0.0) for row in rows]
                label = None if prefix else part
                axes.bar([i + offset for i in range(len(rows))], height, 0.36, base, color=colour, label=label)
                base = [b + h for b, h in zip(base, height, strict=True)]
        axes.set_xticks(range(len(rows)), [f"{row['rate'] / 1e6:g}" for row in rows])
        axes.set_xlabel("MB/s (left bars: features, right: the picture's file)")
        axes.set_ylabel("ms to the answer")
        axes.set_ylim(0, 1.3 * max(1e3 * row["image_upload"] for row in rows))
        axes.set_title(result[f"{key}_costs"]["shape"], fontsize=9)
    every[0].legend(frameon=False, fontsize=8, loc="upper right", ncols=3)
    return save(figure, path)
