"""Depth as a picture: image, near, mask, far, fused depth, truth and error, with scales in metres. Pure drawing."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SKY = "#dfe7ef"
UNKNOWN = "#444444"


def draw(image_HW3: NDArray[np.uint8], output: Any, truth_HW: NDArray[Any] | None = None, title: str = "") -> Any:
    """A matplotlib figure of one result (`DepthOutput`, or a `Depth` message).

    Args:
        image_HW3: what was measured.
        output: near, far and mask may be None: a branch was missing.
        truth_HW: metres, for the truth and the error.
        title: of the whole.
    """
    from matplotlib.figure import Figure

    depth = _depth(output)
    shown: list[tuple[str, Any]] = [
        ("near: metres up to the anchor", output.near),
        ("mask: nearer than the anchor", output.mask),
        ("far: metres from the anchor", output.far),
        (f"depth from {' and '.join(output.used)}", depth),
    ]
    if truth_HW is not None:
        shown += [("truth", truth_HW), ("error: estimate / truth", _ratio(depth, truth_HW))]
    finite = depth[np.isfinite(depth)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (1.0, 10.0)
    columns = 4
    rows = -(-(1 + len(shown)) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.55 * rows), layout="constrained")
    axes = list(np.ravel(figure.subplots(rows, columns)))
    axes[0].imshow(image_HW3)
    axes[0].set_title("image", fontsize=9)
    for ax, (name, values) in zip(axes[1:], shown, strict=False):
        ax.set_title(name, fontsize=9)
        _panel(figure, ax, name, values, float(low), float(high))
    for ax in axes:
        ax.axis("off")
    figure.suptitle(title or f"anchors {', '.join(f'{a:g}' for a in output.anchors)} m", fontsize=10)
    return figure


def save(path: Path, *args: Any, **options: Any) -> Path:
    """Writes `draw`'s figure as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(*args, **options).savefig(path, dpi=110)
    return path


def _depth(output: Any) -> NDArray[np.float64]:
    """Infinite: sky; NaN: unknown. A message keeps both as masks."""
    depth = np.array(output.depth, dtype=np.float64)
    if getattr(output, "valid", None) is not None:
        depth = np.where(output.valid, depth, np.where(output.sky, np.inf, np.nan))
    return depth


def _ratio(depth: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    known = np.isfinite(depth) & np.isfinite(truth) & (truth > 0)
    ratio: NDArray[np.float64] = np.divide(depth, truth, out=np.full(depth.shape, np.nan), where=known)
    return ratio


def _panel(figure: Any, ax: Any, name: str, values: Any, low: float, high: float) -> None:
    from matplotlib.colors import LogNorm, Normalize

    if values is None:
        ax.text(0.5, 0.5, "did not take part", ha="center", va="center", transform=ax.transAxes, fontsize=9)
        return
    values = np.asarray(values, dtype=np.float64)
    scale: Any = LogNorm(max(low, 0.1), max(high, low + 0.1))
    colors, ticks = "turbo_r", [t for t in (0.5, 1, 2, 3, 5, 8, 12, 20, 35, 60, 100) if low <= t <= high]
    if name.startswith("mask"):
        scale, colors, ticks = Normalize(0, 1), "gray", [0, 0.5, 1]
    if name.startswith("error"):
        scale, colors, ticks = LogNorm(0.5, 2), "coolwarm", [0.5, 0.8, 1, 1.25, 2]
    ax.set_facecolor(UNKNOWN)
    backdrop = np.where(np.isinf(values), 1.0, np.nan)
    if np.isinf(values).any():
        from matplotlib.colors import ListedColormap

        ax.imshow(backdrop, cmap=ListedColormap([SKY]))
    drawn = ax.imshow(np.where(np.isfinite(values), values, np.nan), cmap=colors, norm=scale)
    bar = figure.colorbar(drawn, ax=ax, shrink=0.75, pad=0.02)
    bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=7)
