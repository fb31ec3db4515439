"""The modalities of a clip side by side as a GIF. Pure drawing: knows no model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from aiflow.diffusion.video.data import MODALITIES

GAP, BAR, LINE = 8, 16, 13
_FRAMES = {"generate": (70, 70, 70), "condition": (240, 170, 40), "idle": (40, 40, 40)}


def sheet(
    rows: Sequence[Mapping[str, Any]],
    captions: Sequence[str],
    roles: Sequence[Mapping[str, str]],
    order: Sequence[str] = MODALITIES,
    zoom: int = 8,
) -> list[Image.Image]:
    """One image per frame: a row per clip, a column per modality; conditions framed in orange, idle ones empty.

    Args:
        rows: per clip, its views (T, 3, H, W) in [-1, 1] by modality.
        captions: a line of text above each row.
        roles: per clip, the role of each modality.
        order: the columns.
        zoom: screen pixels for one of the clip's.
    """
    first = np.asarray(next(iter(rows[0].values())))
    frames, _, height, width = first.shape
    cell = (width * zoom + GAP, height * zoom + GAP + BAR + LINE)
    size = (cell[0] * len(order) + GAP, cell[1] * len(rows) + GAP)
    made = []
    for t in range(frames):
        page = Image.new("RGB", size, (16, 16, 18))
        draw = ImageDraw.Draw(page)
        for r, (views, caption, role) in enumerate(zip(rows, captions, roles, strict=True)):
            top = GAP + r * cell[1]
            draw.text((GAP, top), caption, fill=(235, 235, 235))
            for c, name in enumerate(order):
                _cell(
                    page, draw, (GAP + c * cell[0], top + LINE), name, role.get(name, "idle"), views.get(name), t, zoom
                )
        made.append(page)
    return made


def gif(path: Path, pages: Sequence[Image.Image], seconds: float = 0.2) -> Path:
    """Writes pages as a looping GIF; the last one is held a little."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [round(1000 * seconds)] * (len(pages) - 1) + [round(4000 * seconds)]
    pages[0].save(path, save_all=True, append_images=list(pages[1:]), duration=times, loop=0)
    return path


def strip(views: Mapping[str, Any], order: Sequence[str] = MODALITIES, zoom: int = 6) -> Image.Image:
    """All frames of all modalities of one clip as one still: a row per modality."""
    shown = [np.asarray(views[name]) for name in order if name in views]
    rows = [np.concatenate(list(_pixels(view)), axis=1) for view in shown]
    whole = np.concatenate(rows, axis=0)
    return Image.fromarray(whole).resize((whole.shape[1] * zoom, whole.shape[0] * zoom), Image.Resampling.NEAREST)


def _cell(
    page: Image.Image, draw: Any, at: tuple[int, int], name: str, role: str, view: Any, t: int, zoom: int
) -> None:
    label = {"generate": name, "condition": f"{name} (given)", "idle": f"{name} (idle)"}[role]
    draw.text((at[0], at[1]), label, fill=_FRAMES["condition"] if role == "condition" else (160, 160, 160))
    if view is None:
        return
    frame = Image.fromarray(_pixels(np.asarray(view)[t : t + 1])[0])
    frame = frame.resize((frame.width * zoom, frame.height * zoom), Image.Resampling.NEAREST)
    corner = (at[0], at[1] + BAR)
    draw.rectangle(
        (corner[0] - 2, corner[1] - 2, corner[0] + frame.width + 1, corner[1] + frame.height + 1),
        outline=_FRAMES[role],
        width=2,
    )
    page.paste(frame, corner)


def _pixels(view_T3HW: Any) -> Any:
    return np.clip((view_T3HW.transpose(0, 2, 3, 1) + 1) * 127.5, 0, 255).round().astype(np.uint8)
