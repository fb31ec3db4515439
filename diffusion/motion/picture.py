"""A GIF of two people meeting: skeletons above a floor, what touches, the caption, and which segment runs.

Pure drawing: knows joints, not where they come from. Legend: T frames, P=2 persons, J=22 joints.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiflow.diffusion.motion.actions import Touch
from aiflow.diffusion.motion.skeleton import CHAINS, Floats
from aiflow.errors import InputError

COLOURS = ("#0b6e99", "#d9541e")
SOLO, MEETING, TOUCH = "#c8ced3", "#f0b429", "#c81d4e"


def draw(
    path: str | Path,
    scenes: dict[str, Floats],
    *,
    caption: str,
    kinds: Sequence[str],
    starts: Sequence[int],
    touches: Sequence[Touch] = (),
    fps: int = 10,
    facts: str = "",
) -> Path:
    """Writes a GIF with one panel for each of ``scenes`` (title -> joints (2, T, 22, 3)) side by side.

    ``touches``: hands that should meet; drawn as rings, with their distance. Raises InputError for scenes that are
    none, of unlike lengths, or not finite.
    """
    from PIL import Image

    joints = {title: np.asarray(one, dtype=np.float64) for title, one in scenes.items()}
    shapes = {one.shape for one in joints.values()}
    if len(shapes) != 1 or next(iter(shapes))[2:] != (22, 3) or next(iter(shapes))[0] != 2:
        raise InputError(f"scenes of one length (2, T, 22, 3) are drawn, got {sorted(shapes)}.")
    if not all(np.isfinite(one).all() for one in joints.values()):
        raise InputError("a scene with NaN or infinity cannot be drawn.")
    figure, views, bar = _figure(list(joints), next(iter(joints.values())).shape[1], caption, kinds, starts, facts)
    frames = []
    for frame in range(next(iter(joints.values())).shape[1]):
        artists = [bar.axvline(frame, color="#222222", linewidth=2)]
        for axes, one in zip(views, joints.values(), strict=True):
            artists += _person_pair(axes, one, frame, touches)
        figure.canvas.draw()
        frames.append(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3]))
        for artist in artists:
            artist.remove()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    small = [one.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE) for one in frames]
    held = [1000 // fps] * (len(small) - 1) + [900]
    small[0].save(path, save_all=True, append_images=small[1:], duration=held, loop=0, optimize=True)
    return path


def _figure(
    titles: list[str], frames: int, caption: str, kinds: Sequence[str], starts: Sequence[int], facts: str
) -> tuple[Any, list[Any], Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(titles), 5.2), dpi=80, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, len(titles), height_ratios=[14, 1], left=0.02, right=0.98, bottom=0.09, top=0.85)
    views = []
    for column, title in enumerate(titles):
        axes: Any = figure.add_subplot(grid[0, column], projection="3d")
        _floor(axes)
        axes.set_title(title, fontsize=11, color="#222222")
        views.append(axes)
    bar = figure.add_subplot(grid[1, :])
    for kind, start, end in zip(kinds, starts, [*starts[1:], frames], strict=True):
        bar.axvspan(start, end, color=MEETING if kind == "interaction" else SOLO)
        bar.text((start + end) / 2, 0.5, kind, ha="center", va="center", fontsize=9, color="#222222")
    bar.set(xlim=(0, frames), ylim=(0, 1), yticks=[], xticks=[])
    figure.suptitle(_wrapped(caption, 62 * len(titles)), fontsize=10, color="#222222")
    if facts:
        figure.text(0.5, 0.02, facts, ha="center", fontsize=8, color="#666666")
    return figure, views, bar


def _floor(axes: Any) -> None:
    axes.set(xlim=(-1.2, 1.2), ylim=(-0.7, 1.9), zlim=(0, 1.95))
    axes.set_box_aspect((2.4, 2.6, 1.95), zoom=1.7)
    axes.view_init(elev=14, azim=-25)
    axes.set_axis_off()
    for line in np.linspace(-1.5, 2.5, 9):
        axes.plot([-1.6, 1.6], [line, line], [0, 0], color="#e4e8eb", linewidth=0.8, zorder=0)
        axes.plot([line - 0.5] * 2, [-1.5, 2.5], [0, 0], color="#e4e8eb", linewidth=0.8, zorder=0)


def _person_pair(axes: Any, joints_PTJ3: Floats, frame: int, touches: Sequence[Touch]) -> list[Any]:
    artists: list[Any] = []
    for person, colour in enumerate(COLOURS):
        j = joints_PTJ3[person, frame]
        for chain in CHAINS:
            x, y, z = j[list(chain), 0], j[list(chain), 2], j[list(chain), 1]
            artists += axes.plot(x, y, z, color=colour, linewidth=3.2, solid_capstyle="round")
            artists += axes.plot(x, y, 0 * z, color="#9aa5ad", linewidth=1.6, alpha=0.5)
        artists += axes.plot(j[15:16, 0], j[15:16, 2], j[15:16, 1] + 0.07, "o", color=colour, markersize=13)
    now = [touch for touch in touches if touch.start <= frame < touch.stop]
    pairs = [(joints_PTJ3[0, frame, t.joint_one], joints_PTJ3[1, frame, t.joint_two]) for t in now]
    for a, b in pairs:
        x, z, y = ((a[k : k + 1] + b[k : k + 1]) / 2 for k in (0, 2, 1))
        artists += axes.plot(x, z, y, "o", markersize=22, fillstyle="none", color=TOUCH, markeredgewidth=2)
    if pairs:
        widest = max(float(np.linalg.norm(a - b)) for a, b in pairs)
        x, z, y = (float(np.mean([a[k] + b[k] for a, b in pairs]) / 2) for k in (0, 2, 1))
        artists.append(axes.text(x, z, y + 0.25, f"{100 * widest:.0f} cm", color=TOUCH, ha="center", fontsize=11))
    return artists


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))
