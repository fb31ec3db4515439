"""What actions of one and of two people are made of: places, touches, the standing person, gestures, envelopes.

Every action (`solo`, `together`) begins and ends in the neutral pose, so actions can follow each other in any order.

Legend: n frames of a segment; u in [0, 1].
"""

from dataclasses import dataclass, field

import numpy as np

from aiflow.diffusion.motion.body import Track
from aiflow.diffusion.motion.skeleton import ANKLE, PELVIS, Floats, turn

FPS = 10
APPROACH = 8
"""Frames from an interaction's start until hands meet."""
SIDES = ("left", "right")
SIGN = (1.0, -1.0)
REST = np.array([[0.24, 0.86, 0.06], [-0.24, 0.86, 0.06]])
"""Hands of a person who does nothing, in the body's frame."""
HIP = 0.10


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a person stands between two actions."""

    x: float
    z: float
    yaw: float


@dataclass(frozen=True, kw_only=True)
class Touch:
    """Joints of person one and person two that are at one point from frame ``start`` until before ``stop``."""

    start: int
    stop: int
    joint_one: int
    joint_two: int


@dataclass(kw_only=True)
class Act:
    """A segment: one track per person, the words for it, and what touches."""

    tracks: list[Track]
    words: str
    touches: list[Touch] = field(default_factory=list)


def smooth(u: Floats) -> Floats:
    """0 to 1 with rest at both ends."""
    u = np.clip(u, 0.0, 1.0)
    eased: Floats = u * u * (3 - 2 * u)
    return eased


def envelope(n: int, rise: int, fall: int, start: int = 0, stop: int | None = None) -> Floats:
    """0 before ``start``, 1 after ``rise`` frames, 0 again at frame ``stop`` (the last one if None)."""
    f = np.arange(n, dtype=np.float64)
    stop = n - 1 if stop is None else stop
    return smooth((f - start) / rise) * smooth((stop - f) / fall)


def stand(place: Place, n: int, rng: np.random.Generator) -> Track:
    """Nothing but breath."""
    breath = 0.006 * np.sin(2 * np.pi * (0.3 * np.arange(n) / FPS + rng.random()))
    track = Track(
        root_F3=np.stack([np.full(n, place.x), PELVIS - 0.012 + breath, np.full(n, place.z)], axis=-1),
        yaw_F=np.full(n, place.yaw),
        pitch_F=np.zeros(n),
        hands_F23=np.zeros((n, 2, 3)),
        feet_F24=np.stack([foot(place, side, n) for side in (0, 1)], axis=1),
    )
    track.hands_F23[:] = in_world(track, np.broadcast_to(REST, (n, 2, 3)))
    return track


def foot(place: Place, side: int, n: int) -> Floats:
    """Where a foot of a standing person is, (n, 4)."""
    dx, dz = HIP * SIGN[side] * np.cos(place.yaw), -HIP * SIGN[side] * np.sin(place.yaw)
    foot_F4: Floats = np.broadcast_to(np.array([place.x + dx, ANKLE, place.z + dz, place.yaw]), (n, 4))
    return foot_F4


def in_world(track: Track, points_F23: Floats) -> Floats:
    """Points of the body's frame (ground below the pelvis, facing +Z) in the world."""
    ground = track.root_F3 * np.array([1.0, 0.0, 1.0])
    placed: Floats = points_F23 @ np.swapaxes(turn(track.yaw_F), -1, -2) + ground[:, None]
    return placed


def reach(track: Track, side: int, target_F3: Floats, weight_F: Floats) -> None:
    """Moves a hand from where it is towards a target in the world."""
    hand = track.hands_F23[:, side]
    hand += weight_F[:, None] * (target_F3 - hand)


def gesture(track: Track, side: int, point_F3: Floats, weight_F: Floats) -> None:
    """Moves a hand towards a point of the body's frame; x is outward."""
    point = np.broadcast_to(point_F3, (len(track), 3)) * np.array([SIGN[side], 1.0, 1.0])
    reach(track, side, in_world(track, np.repeat(point[:, None], 2, axis=1))[:, side], weight_F)
