"""Figures of ``aiflow bench tofc``: accuracy against bytes (Fig. 4's form), latency against rate (Fig. 5's form)."""

from pathlib import Path
from typing import Any

from aiflow.bench.plots import panels, save

COLOURS = {"tofc": "#0f8a5f", "jpeg": "#c2571a", "webp": "#2f7fb8"}
NAMES = {"tofc": "features", "jpeg": "JPEG", "webp": "WebP"}
SHADES = ("#0f8a5f", "#9fd0bd", "#c2571a", "#eec3a5")


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
    for axes, with_merging in ((alone, False), (merged, True)):
        for kind, colour in COLOURS.items():
            rows = [r for r in result["systems"] if r["kind"] == kind]
            rows = [r for r in rows if kind == "tofc" or (r["tokens"] > 0) == with_merging]
            best = _frontier(rows)
            axes.plot([r["bytes"] for r in rows], [100 * r["score"] for r in rows], ".", color=colour, alpha=0.4)
            x, y = [r["bytes"] for r in best], [100 * r["score"] for r in best]
            axes.plot(x, y, color=colour, label=NAMES[kind])
        axes.axhline(100 * reference["score"], color="#888888", linestyle="--", linewidth=1, label="uncompressed")
        axes.set_xscale("log")
        axes.set_xlabel("bytes of a picture")
        axes.set_ylabel("mean score of nine forms, %")
        axes.set_title("merging on both sides" if with_merging else "pictures without merging", fontsize=9)
    alone.legend(frameon=False, fontsize=8, loc="lower right")
    return save(figure, path)


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
        for offset, parts in ((-0.2, ("device", "link", "server")), (0.2, (None, "upload_link", "upload_server"))):
            base = [0.0] * len(rows)
            for part, shade in zip(parts, SHADES[:2] + SHADES[3:] if offset < 0 else SHADES[1:], strict=False):
                if part is None:
                    continue
                height = [1e3 * row[part] for row in rows]
                label = part.replace("_", ": ") if offset > 0 else f"features: {part}"
                axes.bar([i + offset for i in range(len(rows))], height, 0.36, base, color=shade, label=label)
                base = [b + h for b, h in zip(base, height, strict=True)]
        axes.set_xticks(range(len(rows)), [f"{row['rate'] / 1e6:g}" for row in rows])
        axes.set_xlabel("MB/s (left bars: features, right: picture's file)")
        axes.set_ylabel("ms to the answer")
        axes.set_title(result[f"{key}_costs"]["shape"], fontsize=9)
    every[0].legend(frameon=False, fontsize=7)
    return save(figure, path)
