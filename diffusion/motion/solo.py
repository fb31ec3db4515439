"""What a procedural person can do alone. Knows nobody else. Legend: n frames of a segment."""

from collections.abc import Callable
from functools import partial

import numpy as np

from aiflow.diffusion.motion.actions import FPS, Place, envelope, gesture, stand
from aiflow.diffusion.motion.body import Track
from aiflow.diffusion.motion.skeleton import turn


def _wave(track: Track, rng: np.random.Generator, *, side: int) -> None:
    n = len(track)
    swing = rng.uniform(0.10, 0.18) * np.sin(2 * np.pi * (rng.uniform(1.2, 2.0) * np.arange(n) / FPS + rng.random()))
    point = np.stack([0.38 + swing, np.full(n, rng.uniform(1.5, 1.7)), np.full(n, 0.2)], axis=-1)
    gesture(track, side, point, envelope(n, 3, 3))


def _squat(track: Track, rng: np.random.Generator) -> None:
    n, depth = len(track), rng.uniform(0.25, 0.42)
    down = np.sin(np.pi * rng.integers(1, 3) * np.arange(n) / (n - 1)) ** 2
    track.root_F3[:, 1] -= depth * down
    track.pitch_F += 0.4 * down
    for side in (0, 1):
        gesture(track, side, np.stack([np.full(n, 0.2), 1.25 - depth * down, np.full(n, 0.5)], axis=-1), down)


def _raise_arms(track: Track, rng: np.random.Generator) -> None:
    height = rng.uniform(1.75, 1.88)
    for side in (0, 1):
        gesture(track, side, np.array([0.25, height, 0.1]), envelope(len(track), 4, 4))


def _march(track: Track, rng: np.random.Generator) -> None:
    n, lift = len(track), rng.uniform(0.15, 0.3)
    phase = np.pi * rng.integers(2, 4) * np.arange(n) / (n - 1)
    for side, step in ((0, np.sin(phase)), (1, -np.sin(phase))):
        up = np.maximum(step, 0.0)
        track.feet_F24[:, side, 1] += lift * up
        track.feet_F24[:, side, :3] += (0.3 * lift * up)[:, None] * turn(track.yaw_F)[..., 2]
        gesture(track, 1 - side, np.array([0.24, 1.05, 0.3]), up)


def _jump(track: Track, rng: np.random.Generator) -> None:
    n, height = len(track), rng.uniform(0.2, 0.35)
    u = np.arange(n) / (n - 1)
    crouch = 0.15 * (np.exp(-(((u - 0.25) / 0.1) ** 2)) + np.exp(-(((u - 0.75) / 0.1) ** 2)))
    air = np.maximum(0.0, 1 - ((u - 0.5) / 0.2) ** 2)
    track.root_F3[:, 1] += height * air - crouch
    track.feet_F24[..., 1] += (height * air)[:, None]
    for side in (0, 1):
        gesture(track, side, np.array([0.3, 1.3, 0.2]), np.minimum(1.0, air + 2 * crouch))


def _kick(track: Track, rng: np.random.Generator, *, side: int) -> None:
    n = len(track)
    out = np.sin(np.pi * np.arange(n) / (n - 1)) ** 2
    track.feet_F24[:, side, 1] += rng.uniform(0.25, 0.45) * out
    track.feet_F24[:, side, :3] += (rng.uniform(0.4, 0.55) * out)[:, None] * turn(track.yaw_F)[..., 2]
    gesture(track, 1 - side, np.array([0.3, 1.1, 0.25]), out)


def _clap(track: Track, rng: np.random.Generator) -> None:
    n, height = len(track), rng.uniform(1.15, 1.4)
    apart = 0.2 * np.abs(np.sin(np.pi * (rng.uniform(1.2, 1.8) * np.arange(n) / FPS + rng.random()))) + 0.03
    for side in (0, 1):
        gesture(track, side, np.stack([apart, np.full(n, height), np.full(n, 0.4)], axis=-1), envelope(n, 3, 3))


SOLO: dict[str, Callable[[Track, np.random.Generator], None]] = {
    "stands": lambda _track, _rng: None,
    "waves the left hand": partial(_wave, side=0),
    "waves the right hand": partial(_wave, side=1),
    "squats": _squat,
    "raises both arms": _raise_arms,
    "marches": _march,
    "jumps": _jump,
    "kicks with the left foot": partial(_kick, side=0),
    "kicks with the right foot": partial(_kick, side=1),
    "claps": _clap,
}
"""The words of an action, and what it does to a standing person's track."""


def solo(name: str, place: Place, n: int, rng: np.random.Generator) -> Track:
    """One person's segment of ``n`` frames."""
    track = stand(place, n, rng)
    SOLO[name](track, rng)
    return track
