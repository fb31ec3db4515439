"""What is measured of generated scenes: the numbers of table VII in the evaluator's space, and exact template checks.

The checks know what must touch and when; no network can be flattered by them. Knows no generator.

Legend: N scenes, P=2 persons, T frames, J=22 joints, Z embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aiflow.diffusion import distances
from aiflow.diffusion.distances import Interval
from aiflow.diffusion.motion.actions import APPROACH, Touch
from aiflow.diffusion.motion.features import LOW
from aiflow.diffusion.motion.skeleton import BONES_J, CONTACT_JOINTS, PARENTS
from aiflow.diffusion.words import tokens
from aiflow.errors import InputError

Floats = NDArray[np.float64]
POOL = 96
SCALE = 6.0
"""By which the InterHuman protocol multiplies features before FID and diversity."""
TOGETHER = 0.05
"""Metres between two bodies below which they count as one inside the other."""
NEAR = 0.1
"""A contact begins when hands come within this much of the nearest they get."""


@torch.no_grad()
def motion_features(evaluator: Any, u_N2TC: torch.Tensor, frames: Sequence[int], batch: int = 128) -> Floats:
    """(N, Z) of scenes in metres (N, 2, T, 262)."""
    mask_NT = torch.arange(u_N2TC.shape[2])[None] < torch.as_tensor(list(frames))[:, None]
    parts = [evaluator.motions(u_N2TC[i : i + batch], mask_NT[i : i + batch]) for i in range(0, len(u_N2TC), batch)]
    out: Floats = torch.cat(parts).double().numpy()
    return out


@torch.no_grad()
def text_features(evaluator: Any, tokenizer: Any, captions: Sequence[str]) -> Floats:
    """(N, Z) of captions."""
    out: Floats = evaluator.texts(*tokens(tokenizer, captions)).double().numpy()
    return out


def table(
    text_NZ: Floats, motion_NZ: Floats, real_NZ: Floats, *, pool: int = POOL, seed: int = 0, replications: int = 20
) -> dict[str, Interval]:
    """R-Precision@1, 2, 3, FID, MM Dist and Diversity: mean and 95 % interval over replications (InterHuman protocol).

    A replication shuffles the pools and draws, with replacement, which scenes the FID is computed over.
    """

    def measure(at: int) -> Mapping[str, float]:
        rng = np.random.default_rng(at)
        rows = rng.integers(len(motion_NZ), size=len(motion_NZ))
        one, two, three = distances.r_precision(text_NZ, motion_NZ, pool=pool, seed=at)
        return {
            "r1": one,
            "r2": two,
            "r3": three,
            "fid": distances.frechet(real_NZ, motion_NZ[rows], scale=SCALE),
            "mm_dist": distances.mm_dist(text_NZ[rows], motion_NZ[rows]),
            "diversity": distances.diversity(
                motion_NZ, pairs=min(300, len(motion_NZ) - 1), seed=at, halve=True, scale=SCALE
            ),
        }

    return distances.replicate(measure, n=replications, seed=seed)


def retrieved(text_NZ: Floats, motion_NZ: Floats, *, pool: int = POOL, replications: int = 20, seed: int = 0) -> Floats:
    """(N, 3): how often each text finds its motion among the 1, 2, 3 nearest of a pool, over random pools.

    The mean over texts is R-Precision. In every replication those that fill no pool have no pool; NaN if that was
    always so. Raises InputError for fewer pairs than a pool.
    """
    if not 1 <= pool <= len(text_NZ):
        raise InputError(f"a pool of {pool} does not fit {len(text_NZ)} pairs.")
    hits, counted = np.zeros((len(text_NZ), 3)), np.zeros(len(text_NZ))
    for at in range(replications):
        places = np.random.default_rng(seed + at).permutation(len(text_NZ))
        for start in range(0, len(places) - pool + 1, pool):
            taken = places[start : start + pool]
            d_NN = distances.pairwise(text_NZ[taken], motion_NZ[taken])
            rank = (d_NN < np.diagonal(d_NN)[:, None]).sum(axis=1)
            hits[taken] += rank[:, None] < np.arange(1, 4)
            counted[taken] += 1
    found: Floats = hits / np.where(counted, counted, np.nan)[:, None]
    return found


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Of each scene; NaN where the template has nothing to check."""

    gap_N: Floats
    """Mean distance (m) of what must touch, over the frames in which it must."""
    timing_N: Floats
    """Frames between the first contact and when it must begin."""
    skate_N: Floats
    """Mean horizontal speed (m/frame) of feet on the floor."""
    bone_N: Floats
    """Mean error (m) of bone lengths."""
    inside_N: Floats
    """Share of frames in which two trunks are nearer than `TOGETHER`."""
    jerk_N: Floats
    """Mean third difference (m/frame^3) of the joints within 3 frames of a junction."""

    def means(self) -> dict[str, float]:
        """The mean over scenes that have a value."""
        return {name.removesuffix("_N"): float(np.nanmean(value)) for name, value in vars(self).items()}


def checks(
    joints_N: Sequence[Floats], touches_N: Sequence[Sequence[Touch]], starts_N: Sequence[Sequence[int]]
) -> Checks:
    """Checks scenes, each (2, T, J, 3) with its touches and the starts of its segments. Raises InputError."""
    rows = []
    for joints_PTJ3, touches, starts in zip(joints_N, touches_N, starts_N, strict=True):
        j = np.asarray(joints_PTJ3, dtype=np.float64)
        if j.ndim != 4 or j.shape[0] != 2 or j.shape[2:] != (22, 3) or not np.isfinite(j).all():
            raise InputError(f"a scene is finite joints (2, T, 22, 3), got {j.shape}.")
        rows.append(
            (
                contact_gap(j, touches),
                timing_error(j, touches),
                foot_skate(j),
                float(np.abs(np.linalg.norm(j[:, :, 1:] - j[:, :, list(PARENTS[1:])], axis=-1) - BONES_J[1:]).mean()),
                _inside(j),
                _jerk(j, starts),
            )
        )
    columns = np.array(rows, dtype=np.float64).reshape(-1, 6).T
    names = ("gap_N", "timing_N", "skate_N", "bone_N", "inside_N", "jerk_N")
    return Checks(**dict(zip(names, columns, strict=True)))


def _distance(j: Floats, touch: Touch) -> Floats:
    gap: Floats = np.linalg.norm(j[0, :, touch.joint_one] - j[1, :, touch.joint_two], axis=-1)
    return gap


def contact_gap(joints_PTJ3: Floats, touches: Sequence[Touch]) -> float:
    """Mean distance (m) of what must touch; NaN without touches."""
    gaps = [_distance(joints_PTJ3, touch)[touch.start : touch.stop] for touch in touches]
    return float(np.concatenate(gaps).mean()) if gaps else float("nan")


def timing_error(joints_PTJ3: Floats, touches: Sequence[Touch]) -> float:
    """Mean |frame of first contact - frame at which it must begin|; NaN without touches.

    First contact: when the distance first comes within `NEAR` of its least, looked for from the interaction's start,
    two frames early, until six frames after the contact should have ended.
    """
    errors = []
    for touch in touches:
        first = max(0, touch.start - APPROACH - 2)
        gap = _distance(joints_PTJ3, touch)[first : touch.stop + 6]
        errors.append(abs(first + int(np.argmax(gap <= gap.min() + NEAR)) - touch.start))
    return float(np.mean(errors)) if errors else float("nan")


def foot_skate(joints_PTJ3: Floats) -> float:
    """Mean horizontal speed (m/frame) of ankles and toes that are low in two frames running; 0 if none is."""
    feet = joints_PTJ3[:, :, list(CONTACT_JOINTS)]
    low = feet[..., 1] < LOW
    speed = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=1), axis=-1)
    both = low[:, 1:] & low[:, :-1]
    return float(speed[both].mean()) if both.any() else 0.0


def _inside(j: Floats) -> float:
    trunk = [0, 3, 6, 9, 12, 15]
    gap = np.linalg.norm(j[0][:, trunk, None] - j[1][:, None, trunk], axis=-1).min(axis=(1, 2))
    return float((gap < TOGETHER).mean())


def _jerk(j: Floats, starts: Sequence[int]) -> float:
    third = np.linalg.norm(np.diff(j, n=3, axis=1), axis=-1).mean(axis=(0, 2))
    near = [f for start in starts if start > 0 for f in range(max(0, start - 4), min(len(third), start + 2))]
    return float(third[near].mean()) if near else float("nan")
