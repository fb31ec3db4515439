"""TinyRooms and TinyRoads: procedural scenes as images with exact metric depth, by a vectorised ray caster in numpy.

A room is a box with furniture, 2 to 9 m; a road is a ground plane with buildings and cars to 80 m under a sky without
depth; a distant road has its objects at 80 to 200 m. Textures have their period in metres, so that scale can be seen.
Every image is a function of (seed, split, kind, index) alone. Knows nothing of training or files.

Legend: B scenes, H rows, W columns, P = H * W pixels, K boxes; x right, y up, z forward, metres.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from aiflow.errors import InputError

Floats = NDArray[np.float32]
Kind = Literal["indoor", "outdoor", "distant"]
Split = Literal["train", "validation", "test"]

HEIGHT, WIDTH = 48, 64
BOXES = 10
SHELL = 3
HORIZON = 400.0
"""Metres beyond which there is no surface: sky."""
CHUNK = 64
DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Images with depth: ``image_BHW3`` (u1), ``depth_BHW`` (f4, metres along the axis; inf: sky)."""

    image_BHW3: NDArray[np.uint8]
    depth_BHW: Floats


def scenes(kind: Kind, split: Split, count: int, *, seed: int = 0, start: int = 0) -> Scenes:
    """The scenes ``start`` to ``start + count`` of a kind and split. Raises InputError for unknown names or counts."""
    if kind not in get_args(Kind) or split not in get_args(Split):
        raise InputError(f"no scenes of kind {kind!r}, split {split!r}; use {get_args(Kind)} and {get_args(Split)}.")
    if count < 1 or start < 0 or seed < 0:
        raise InputError(f"cannot make {count} scenes from number {start} with seed {seed}; use 1 or more, from 0 on.")
    parts = [
        _render(kind, split, range(first, min(first + CHUNK, start + count)), seed)
        for first in range(start, start + count, CHUNK)
    ]
    return Scenes(
        image_BHW3=np.concatenate([part.image_BHW3 for part in parts]),
        depth_BHW=np.concatenate([part.depth_BHW for part in parts]),
    )


class _Dice:
    """Uniform numbers of a chunk of scenes, taken in order: the same scene gets the same ones in any chunk."""

    def __init__(self, kind: Kind, split: Split, numbers: range, seed: int) -> None:
        key = [seed, get_args(Split).index(split), get_args(Kind).index(kind)]
        rngs = [np.random.default_rng([*key, number]) for number in numbers]
        self.u_BN = np.stack([rng.random(DRAWS, dtype=np.float32) for rng in rngs])
        self.noise_BP3 = np.stack([rng.standard_normal((HEIGHT * WIDTH, 3), dtype=np.float32) for rng in rngs])
        self._next = 0

    def uniform(self, low: float, high: float, count: int = 1) -> Floats:
        """``(B, count)`` numbers."""
        taken = self.u_BN[:, self._next : self._next + count]
        assert taken.shape[1] == count, "raise DRAWS"
        self._next += count
        return np.float32(low) + np.float32(high - low) * taken


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Geometry and look of a chunk of scenes; surface K + axis is the shell: walls, floor or ground."""

    camera_B3: Floats
    pitch_B1: Floats
    yaw_B1: Floats
    focal_B1: Floats
    low_BK3: Floats
    high_BK3: Floats
    color_BS3: Floats
    other_BS3: Floats
    period: float
    light_B3: Floats
    haze_B1: Floats
    noise_B1: Floats


def _render(kind: Kind, split: Split, numbers: range, seed: int) -> Scenes:
    dice = _Dice(kind, split, numbers, seed)
    room_B3 = None
    if kind == "indoor":
        layout, room_B3 = _room(dice)
    else:
        layout = _road(dice, distant=kind == "distant")
    ray_BP3 = _rays(layout)
    depth_BP, axis_BP, surface_BP = _cast(layout, ray_BP3, room_B3)
    image_BP3 = _shade(layout, ray_BP3, depth_BP, axis_BP, surface_BP, dice.noise_BP3)
    depth_BP = np.where(depth_BP > HORIZON, np.float32(np.inf), depth_BP)
    shape = (len(numbers), HEIGHT, WIDTH)
    return Scenes(image_BHW3=image_BP3.reshape(*shape, 3), depth_BHW=depth_BP.reshape(shape))


def _room(dice: _Dice) -> tuple[_Layout, Floats]:
    """Camera in a box room; furniture stands on the floor, 2 to 5 pieces."""
    width, ahead, height = dice.uniform(3, 8), dice.uniform(2.2, 9), dice.uniform(2.4, 3.4)
    camera_y, camera_x = dice.uniform(1.2, 1.7), dice.uniform(-0.3, 0.3) * width
    room_B3 = np.concatenate([width / 2, height, ahead], axis=1)
    size = np.stack([dice.uniform(0.3, 1.6, BOXES), dice.uniform(0.3, 1.9, BOXES), dice.uniform(0.3, 1.4, BOXES)], 2)
    z = 0.9 + dice.uniform(0, 1, BOXES) * (ahead - 0.9)
    x = dice.uniform(-0.5, 0.5, BOXES) * width
    gone = np.arange(BOXES) >= np.floor(dice.uniform(2, 6))
    center = np.stack([x, size[..., 1] / 2, np.where(gone, np.float32(-50), z)], axis=2)
    camera_B3 = np.concatenate([camera_x, camera_y, np.zeros_like(camera_x)], axis=1)
    layout = _look(dice, camera_B3, center, size, period=0.5, pitch=(-0.25, 0.08), haze=(200, 400))
    return layout, room_B3


def _road(dice: _Dice, *, distant: bool) -> _Layout:
    """Ground plane with 2 to 5 buildings beside the road and 2 to 5 cars on it."""
    near, far = (80, 200) if distant else (5, 78)
    half = BOXES // 2
    tall = np.stack([dice.uniform(4, 14, half), dice.uniform(4, 18, half), dice.uniform(5, 20, half)], axis=2)
    small = np.stack([dice.uniform(0.5, 2.4, half), dice.uniform(0.8, 2.8, half), dice.uniform(0.6, 4.5, half)], axis=2)
    size = np.concatenate([tall, small], axis=1) * np.float32(2 if distant else 1)
    z = dice.uniform(near, far, BOXES) + size[..., 2] / 2
    side = np.sign(dice.uniform(-1, 1, half)) * (tall[..., 0] / 2 + dice.uniform(2.5, 9, half))
    lane = dice.uniform(-0.12, 0.12, half) * z[:, half:] + dice.uniform(-2, 2, half)
    x = np.concatenate([side * np.float32(3 if distant else 1), lane], axis=1)
    place = np.arange(half)
    gone = np.concatenate(
        [place >= np.floor(dice.uniform(2, half + 1)), place >= np.floor(dice.uniform(2, half + 1))], axis=1
    )
    center = np.stack([x, size[..., 1] / 2, np.where(gone, np.float32(-500), z)], axis=2)
    camera_y = dice.uniform(1.4, 1.8)
    camera_B3 = np.concatenate([np.zeros_like(camera_y), camera_y, np.zeros_like(camera_y)], axis=1)
    return _look(dice, camera_B3, center, size, period=2.0, pitch=(-0.02, 0.2), haze=(80, 200))


def _look(
    dice: _Dice,
    camera_B3: Floats,
    center_BK3: Floats,
    size_BK3: Floats,
    *,
    period: float,
    pitch: tuple[float, float],
    haze: tuple[float, float],
) -> _Layout:
    """Colours, texture periods, light and lens."""
    surfaces = BOXES + SHELL
    color = dice.uniform(0.2, 0.95, surfaces * 3).reshape(-1, surfaces, 3)
    contrast = dice.uniform(0.35, 0.75, surfaces)[..., None]
    light = np.concatenate([dice.uniform(-1, 1), dice.uniform(0.4, 1), dice.uniform(-1, 0.2)], axis=1)
    return _Layout(
        camera_B3=camera_B3.astype(np.float32),
        pitch_B1=dice.uniform(*pitch),
        yaw_B1=dice.uniform(-0.3, 0.3) * np.float32(1 if period < 1 else 0.3),
        focal_B1=dice.uniform(0.75, 0.85) * WIDTH,
        low_BK3=(center_BK3 - size_BK3 / 2).astype(np.float32),
        high_BK3=(center_BK3 + size_BK3 / 2).astype(np.float32),
        color_BS3=color,
        other_BS3=color * contrast,
        period=period,
        light_B3=light / np.linalg.norm(light, axis=1, keepdims=True),
        haze_B1=dice.uniform(*haze),
        noise_B1=dice.uniform(0.01, 0.03),
    )


def _rays(layout: _Layout) -> Floats:
    """Directions through the pixels' centres, turned by pitch and yaw; one unit along a ray is one metre of depth."""
    v, u = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), indexing="ij")
    x_BP = ((u.reshape(-1) + 0.5 - WIDTH / 2)[None] / layout.focal_B1).astype(np.float32)
    y_BP = ((HEIGHT / 2 - v.reshape(-1) - 0.5)[None] / layout.focal_B1).astype(np.float32)
    cos, sin = np.cos(layout.pitch_B1), np.sin(layout.pitch_B1)
    y_BP, z_BP = y_BP * cos + sin, cos - y_BP * sin
    cos, sin = np.cos(layout.yaw_B1), np.sin(layout.yaw_B1)
    ray_BP3 = np.stack([x_BP * cos + z_BP * sin, y_BP, z_BP * cos - x_BP * sin], axis=2)
    return np.where(np.abs(ray_BP3) < 1e-6, np.float32(1e-6), ray_BP3)


def _cast(
    layout: _Layout, ray_BP3: Floats, room_B3: Floats | None
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Depth, the axis of the surface's normal, and which surface is seen."""
    inverse_BP3, camera_B13 = 1 / ray_BP3, layout.camera_B3[:, None]
    if room_B3 is None:
        depth_BP = np.where(ray_BP3[..., 1] < 0, -layout.camera_B3[:, None, 1] * inverse_BP3[..., 1], np.inf)
        depth_BP = depth_BP.astype(np.float32)
        axis_BP = np.ones(depth_BP.shape, np.int64)
    else:
        high_B13 = room_B3[:, None]
        low_B13 = np.concatenate([-room_B3[:, :1], np.zeros_like(room_B3[:, :1]), np.full_like(room_B3[:, :1], -1)], 1)[
            :, None
        ]
        exit_BP3 = (np.where(ray_BP3 > 0, high_B13, low_B13) - camera_B13) * inverse_BP3
        axis_BP, depth_BP = exit_BP3.argmin(axis=2), exit_BP3.min(axis=2)
    surface_BP = BOXES + axis_BP
    for k in range(BOXES):
        here = np.flatnonzero(layout.high_BK3[:, k, 2] > 0)
        low_B13, high_B13 = layout.low_BK3[here, None, k], layout.high_BK3[here, None, k]
        one_BP3 = (low_B13 - camera_B13[here]) * inverse_BP3[here]
        two_BP3 = (high_B13 - camera_B13[here]) * inverse_BP3[here]
        enter_BP3, leave_BP = np.minimum(one_BP3, two_BP3), np.maximum(one_BP3, two_BP3).min(axis=2)
        enter_BP = enter_BP3.max(axis=2)
        hit_BP = (enter_BP < leave_BP) & (enter_BP > 0.05) & (enter_BP < depth_BP[here])
        depth_BP[here] = np.where(hit_BP, enter_BP, depth_BP[here])
        axis_BP[here] = np.where(hit_BP, enter_BP3.argmax(axis=2), axis_BP[here])
        surface_BP[here] = np.where(hit_BP, k, surface_BP[here])
    return depth_BP, axis_BP, surface_BP


def _shade(
    layout: _Layout,
    ray_BP3: Floats,
    depth_BP: Floats,
    axis_BP: NDArray[np.int64],
    surface_BP: NDArray[np.int64],
    noise_BP3: Floats,
) -> NDArray[np.uint8]:
    """Checked surfaces in Lambert light under haze; checks finer than a pixel fade to their mean."""
    sky_BP = depth_BP > HORIZON
    seen_BP = np.where(sky_BP, np.float32(1), depth_BP)
    rows = np.arange(len(depth_BP))[:, None]
    cell_BP3 = np.floor((layout.camera_B3[:, None] + ray_BP3 * seen_BP[..., None]) / layout.period + 1e-3)
    in_plane_BP3 = np.arange(3) != axis_BP[..., None]
    odd_BP = (cell_BP3 * in_plane_BP3).sum(axis=2) % 2
    fade_BP = 1 / (1 + (seen_BP / layout.focal_B1 / layout.period * 2) ** 4)
    mix_BP = 0.5 + (odd_BP - 0.5) * fade_BP
    one_BP3, two_BP3 = layout.color_BS3[rows, surface_BP], layout.other_BS3[rows, surface_BP]
    color_BP3 = one_BP3 + (two_BP3 - one_BP3) * mix_BP[..., None]
    toward_BP = -np.sign(np.take_along_axis(ray_BP3, axis_BP[..., None], 2)[..., 0])
    lambert_BP = np.maximum(0, toward_BP * layout.light_B3[rows, axis_BP])
    color_BP3 = color_BP3 * (0.55 + 0.45 * lambert_BP)[..., None]
    haze_BP1 = np.exp(-seen_BP / layout.haze_B1)[..., None]
    up_BP1 = np.clip(ray_BP3[..., 1:2], 0, 1)
    air_BP3 = np.array([0.80, 0.86, 0.92], np.float32) - up_BP1 * np.array([0.35, 0.22, 0.05], np.float32)
    color_BP3 = np.where(sky_BP[..., None], air_BP3, color_BP3 * haze_BP1 + air_BP3 * (1 - haze_BP1))
    color_BP3 = color_BP3 + noise_BP3 * layout.noise_B1[..., None]
    image_BP3: NDArray[np.uint8] = np.round(np.clip(color_BP3, 0, 1) * 255).astype(np.uint8)
    return image_BP3
