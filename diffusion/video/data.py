"""TinyPrimitives: procedural clips of one moving object, with exact depth, segments and edges, and a caption.

Every clip follows from (seed, split, index) alone. Knows no models; clips of one's own are read by ``data_folder``.

Shapes: N clips, T frames, H x W pixels. Views are (N, T, 3, H, W) in [-1, 1]; depth in metres is (N, T, H, W).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiflow.errors import InputError, suggest

Floats = NDArray[np.float32]

MODALITIES = ("rgb", "depth", "segment", "edges")
SHAPES = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow", "purple")
MOTIONS = ("left", "right", "up", "down", "closer", "away", "around")
BACKGROUNDS = ("dark", "light")
ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "motion": MOTIONS, "background": BACKGROUNDS}
WORDS = ("a", "moving", "on", "background", *SHAPES, *COLOURS, *MOTIONS, *BACKGROUNDS)
SPLITS = {"train": 4000, "val": 512, "test": 512}
FRAMES, SIZE = 8, 16
NEAR, FAR = 0.5, 4.5
"""Metres that the values -1 and 1 of a depth view stand for."""
PALETTE = np.array([[-1, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
"""Colours of a segment view: background, circle, square, triangle."""

_RGB = np.array([[0.9, -0.7, -0.7], [-0.6, 0.7, -0.6], [-0.6, -0.4, 0.95], [0.9, 0.8, -0.7], [0.5, -0.6, 0.8]])
_FOCAL = float(SIZE)


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Some clips: a view for each modality, captions, and the attributes (N, 4) as numbers, in order of ATTRIBUTES."""

    views: Mapping[str, Floats]
    captions: tuple[str, ...]
    attributes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.captions)


def caption(attributes: NDArray[np.int64]) -> str:
    """The sentence for four attributes."""
    shape, colour, motion, background = (
        names[int(n)] for names, n in zip(ATTRIBUTES.values(), attributes, strict=True)
    )
    return f"a {colour} {shape} moving {motion} on a {background} background"


def generate(split: str, count: int | None = None, *, start: int = 0, seed: int = 0) -> Clips:
    """Clips ``start`` ... ``start + count - 1`` of a split, by default all. Raises InputError for an unknown split."""
    if split not in SPLITS:
        raise InputError(f"{split!r} is no split of TinyPrimitives; {suggest(split, list(SPLITS))}")
    indices = range(start, start + (SPLITS[split] - start if count is None else count))
    drawn = [np.random.default_rng((seed, list(SPLITS).index(split), i)).random(16) for i in indices]
    u_N = np.array(drawn).reshape(-1, 16)
    sizes = np.array([len(names) for names in ATTRIBUTES.values()])
    attributes = (u_N[:, :4] * sizes).astype(np.int64)
    depth_m, inside, rgb = _render(u_N[:, 4:], attributes)
    labels = np.where(inside, attributes[:, 0, None, None, None] + 1, 0)
    views = {
        "rgb": rgb,
        "depth": depth_view(depth_m),
        "segment": np.ascontiguousarray(np.moveaxis(PALETTE[labels], -1, 2)),
        "edges": edge_view(_outline(inside)),
    }
    return Clips(views=views, captions=tuple(caption(one) for one in attributes), attributes=attributes)


def depth_view(depth_m: NDArray[np.floating]) -> Floats:
    """Metres (..., H, W) as a view (..., 3, H, W)."""
    value = np.clip(2 * (depth_m - NEAR) / (FAR - NEAR) - 1, -1, 1).astype(np.float32)
    return np.repeat(value[..., None, :, :], 3, axis=-3)


def depth_metres(view: NDArray[np.floating]) -> Floats:
    """A depth view (..., 3, H, W) in metres (..., H, W)."""
    value = np.clip(view.mean(axis=-3), -1, 1)
    metres: Floats = ((value + 1) / 2 * (FAR - NEAR) + NEAR).astype(np.float32)
    return metres


def segment_labels(view: NDArray[np.floating]) -> NDArray[np.int64]:
    """A segment view (..., 3, H, W) as numbers of PALETTE (..., H, W): the nearest colour."""
    pixels = np.moveaxis(view, -3, -1)
    return np.asarray(((pixels[..., None, :] - PALETTE) ** 2).sum(-1).argmin(-1), np.int64)


def edge_view(edges: NDArray[np.bool_]) -> Floats:
    """Edges (..., H, W) as a white-on-black view (..., 3, H, W)."""
    return np.repeat(np.where(edges, 1, -1).astype(np.float32)[..., None, :, :], 3, axis=-3)


def edge_mask(view: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where an edge view (..., 3, H, W) has edges (..., H, W)."""
    return np.asarray(view.mean(axis=-3) > 0)


def _path(u_N: NDArray[np.float64], motion_N: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Centre in pixels from the middle (x right, y down) and depth in metres, each (N, T)."""
    tau_T = np.linspace(-0.5, 0.5, FRAMES)
    x = np.repeat(4 * (u_N[:, 0, None] - 0.5), FRAMES, 1)
    y = np.repeat(4 * (u_N[:, 1, None] - 0.5), FRAMES, 1)
    z = np.repeat(1.5 + 0.9 * u_N[:, 2, None], FRAMES, 1)
    way = (5 + 3 * u_N[:, 3, None]) * tau_T
    nearer = 1.3 + 0.3 * u_N[:, 2, None] + (1.2 + 0.4 * u_N[:, 3, None]) * (0.5 - tau_T)
    angle = 2 * np.pi * (u_N[:, 4, None] + 0.875 * tau_T)
    radius = 2.5 + 1.0 * u_N[:, 3, None]
    is_ = {name: (motion_N == place)[:, None] for place, name in enumerate(MOTIONS)}
    x = x + way * (is_["right"] * 1.0 - is_["left"]) + is_["around"] * radius * np.cos(angle)
    y = y + way * (is_["down"] * 1.0 - is_["up"]) + is_["around"] * radius * np.sin(angle)
    z = np.where(is_["closer"], nearer, np.where(is_["away"], nearer[:, ::-1], z))
    return x, y, z


def _render(
    u_N: NDArray[np.float64], attributes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], Floats]:
    """Depth in metres, where the object is (N, T, H, W), and the rgb view."""
    x, y, z = (one[:, :, None, None] for one in _path(u_N, attributes[:, 2]))
    radius = 0.42 * (0.9 + 0.2 * u_N[:, 5]).reshape(-1, 1, 1, 1)  # metres: size tells distance, but for +-10 %
    v, h = np.mgrid[0:SIZE, 0:SIZE] + 0.5 - SIZE / 2
    dx, dy = (h - x) * z / (_FOCAL * radius), (v - y) * z / (_FOCAL * radius)
    r2 = dx**2 + dy**2
    shape = attributes[:, 0].reshape(-1, 1, 1, 1)
    square = np.maximum(abs(dx), abs(dy)) < 0.85
    triangle = (dy < 0.75) & (dy > 1.9 * abs(dx) - 1.1)
    inside = np.where(shape == 0, r2 < 1, np.where(shape == 1, square, triangle))
    bulge = np.where(shape == 0, np.sqrt(np.clip(1 - r2, 0, 1)), 0)
    wall = 4.0 - 0.4 * v / (SIZE / 2)
    depth_m = np.where(inside, z - 0.5 * radius * bulge, wall)
    shade = np.where(shape == 0, 0.65 + 0.35 * bulge - 0.12 * (dx + dy), np.where(shape == 1, 0.95, 0.85 - 0.2 * dy))
    tint = _RGB[attributes[:, 1]] + 0.2 * (u_N[:, 6:9] - 0.5)
    light = np.where(attributes[:, 3] == 0, -0.8, 0.55) + 0.2 * (u_N[:, 9] - 0.5)
    ground = light.reshape(-1, 1, 1, 1) - 0.15 * v / (SIZE / 2)
    body = (tint[:, None, :, None, None] + 1) * shade[:, :, None] - 1
    rgb = np.where(inside[:, :, None], body, np.broadcast_to(ground, inside.shape)[:, :, None])
    return depth_m, inside, np.clip(rgb, -1, 1).astype(np.float32)


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The object's pixels with a neighbour (of four) that is not the object's."""
    padded = np.pad(inside, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    around = [padded[..., 2:, 1:-1], padded[..., :-2, 1:-1], padded[..., 1:-1, 2:], padded[..., 1:-1, :-2]]
    return np.asarray(inside & ~np.logical_and.reduce(around))
