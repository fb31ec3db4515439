"""262 numbers per person and frame, in the form of InterHuman: positions, velocities, local 6D rotations, contacts.

Two persons stand in one frame of reference: the floor at 0, person one's first pelvis above the origin, facing +Z.
Knows no data set. numpy, any leading shape. Source: InterGen's processing.

Legend: T frames, P persons, J=22 joints, R=21 local rotations, 262 = 66 positions (m) + 66 velocities (m/frame) + 126
rotations + 4 contacts of l_ankle, l_foot, r_ankle, r_foot.
"""

import numpy as np
from numpy.typing import NDArray

from aiflow.diffusion.motion.skeleton import (
    CONTACT_JOINTS,
    MIRRORED,
    Floats,
    facing,
    forward,
    from_6d,
    root_rotation,
    turn,
)
from aiflow.errors import InputError

WIDTH = 262
POSITIONS, VELOCITIES, ROTATIONS, CONTACTS = slice(0, 66), slice(66, 132), slice(132, 258), slice(258, 262)
STILL = 0.001
"""Squared metres per frame below which a foot may be in contact (InterGen, 30 frames per second)."""
LOW = np.array([0.12, 0.05, 0.12, 0.05])
"""Heights below which an ankle or toe may be in contact, metres."""

_ROTATION_MIRROR = np.array([1.0, -1.0, -1.0, 1.0, -1.0, 1.0])
_ROTATIONS_SWAPPED = [joint - 1 for joint in MIRRORED[1:]]


def features(joints_TJ3: Floats, rotations_TR6: Floats) -> NDArray[np.float32]:
    """(..., T, 262) from (..., T, J, 3) and (..., T, R, 6). The last frame's velocity is that of the frame before."""
    v = np.diff(joints_TJ3, axis=-3)
    v = np.concatenate([v, v[..., -1:, :, :]], axis=-3)
    lead = joints_TJ3.shape[:-2]
    parts = [joints_TJ3.reshape(*lead, 66), v.reshape(*lead, 66), rotations_TR6.reshape(*lead, 126)]
    return np.concatenate([*parts, contacts(joints_TJ3, v)], axis=-1).astype(np.float32)


def contacts(joints_TJ3: Floats, velocity_TJ3: Floats) -> Floats:
    """(..., T, 4) of 0 or 1: slow and low."""
    feet, v = joints_TJ3[..., CONTACT_JOINTS, :], velocity_TJ3[..., CONTACT_JOINTS, :]
    down: Floats = (((v**2).sum(-1) < STILL) & (feet[..., 1] < LOW)).astype(np.float64)
    return down


def joints(u: NDArray[np.floating]) -> Floats:
    """Positions (..., J, 3) of features (..., 262)."""
    return u[..., POSITIONS].reshape(*u.shape[:-1], 22, 3).astype(np.float64)


def rotations(u: NDArray[np.floating]) -> Floats:
    """Local 6D rotations (..., R, 6) of features (..., 262)."""
    return u[..., ROTATIONS].reshape(*u.shape[:-1], 21, 6).astype(np.float64)


def from_bones(root_T3: Floats, root_T33: Floats, rotations_TR6: Floats) -> NDArray[np.float32]:
    """Features of a motion given by rotations alone, on the shared bones."""
    return features(forward(root_T3, root_T33, from_6d(rotations_TR6)), rotations_TR6)


def moved(u: NDArray[np.float32], yaw: float, shift: Floats) -> NDArray[np.float32]:
    """The same motion (..., 262) turned about Y, then shifted (3,). Local rotations do not change."""
    spin, out = turn(np.asarray(yaw)), u.copy()
    lead = u.shape[:-1]
    out[..., POSITIONS] = (joints(u) @ spin.T + shift).reshape(*lead, 66)
    v = u[..., VELOCITIES].reshape(*lead, 22, 3).astype(np.float64)
    out[..., VELOCITIES] = (v @ spin.T).reshape(*lead, 66)
    return out


def canonical(u_PT: NDArray[np.float32], floor: bool = False) -> NDArray[np.float32]:
    """(P, T, 262) with person one's first pelvis above the origin, facing +Z, and, if asked, the lowest joint at 0."""
    if u_PT.ndim != 3 or u_PT.shape[-1] != WIDTH or not u_PT.size:
        raise InputError(f"a motion has the shape (persons, frames, {WIDTH}), not {u_PT.shape}.")
    first = joints(u_PT[0, :1])
    yaw = -float(facing(first)[0])
    shift = -first[0, 0] @ turn(np.asarray(yaw)).T
    shift[1] = -float(joints(u_PT)[..., 1].min()) if floor else 0.0
    return moved(u_PT, yaw, shift)


def swapped(u_PT: NDArray[np.float32]) -> NDArray[np.float32]:
    """Person two becomes person one."""
    return canonical(np.ascontiguousarray(u_PT[::-1]))


def mirrored(u: NDArray[np.float32]) -> NDArray[np.float32]:
    """Left becomes right (..., 262)."""
    lead, out = u.shape[:-1], u.copy()
    flip = np.array([-1.0, 1.0, 1.0])
    for part in (POSITIONS, VELOCITIES):
        points = u[..., part].reshape(*lead, 22, 3)[..., MIRRORED, :] * flip
        out[..., part] = points.reshape(*lead, 66)
    six = u[..., ROTATIONS].reshape(*lead, 21, 6)[..., _ROTATIONS_SWAPPED, :] * _ROTATION_MIRROR
    out[..., ROTATIONS] = six.reshape(*lead, 126)
    out[..., CONTACTS] = u[..., CONTACTS][..., [2, 3, 0, 1]]
    return out


def skeleton_motion(u_T: NDArray[np.float32]) -> tuple[Floats, Floats, Floats]:
    """Pelvis positions (T, 3), pelvis rotations (T, 3, 3) and local rotations (T, R, 3, 3) of one person (T, 262)."""
    at = joints(u_T)
    return at[:, 0], root_rotation(at), from_6d(rotations(u_T))
