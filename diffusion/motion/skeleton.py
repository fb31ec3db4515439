"""The 22 SMPL body joints: names, bones, 6D rotations, forward kinematics, inverse kinematics of arms and legs.

Knows no motion. Y is up, a person at rest faces +Z with the left side at +X; metres.

Legend: F frames (any leading shape where noted), J=22 joints, R=21 local rotations (all joints but the pelvis).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

JOINTS = (
    *("pelvis", "l_hip", "r_hip", "spine1", "l_knee", "r_knee", "spine2", "l_ankle"),
    *("r_ankle", "spine3", "l_foot", "r_foot", "neck", "l_collar", "r_collar", "head"),
    *("l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist", "r_wrist"),
)
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
CHAINS = ((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20))
HANDS, FEET, SHOULDERS = (20, 21), (7, 8), (16, 17)
"""Left, right."""
CONTACT_JOINTS = (7, 10, 8, 11)
MIRRORED = (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20)
"""For each joint, the one on the other side."""

_LEFT = {
    "l_hip": (0.09, -0.06, 0.0),
    "l_knee": (0.0, -0.40, 0.0),
    "l_ankle": (0.0, -0.40, 0.0),
    "l_foot": (0.0, -0.06, 0.13),
    "l_collar": (0.07, 0.11, 0.0),
    "l_shoulder": (0.11, 0.03, 0.0),
    "l_elbow": (0.29, 0.0, 0.0),
    "l_wrist": (0.27, 0.0, 0.0),
}
_MIDDLE = {
    "spine1": (0.0, 0.11, 0.0),
    "spine2": (0.0, 0.13, 0.0),
    "spine3": (0.0, 0.06, 0.0),
    "neck": (0.0, 0.20, 0.0),
    "head": (0.0, 0.10, 0.03),
}


def _offset(name: str) -> tuple[float, float, float]:
    if name.startswith("r_"):
        x, y, z = _LEFT["l" + name[1:]]
        return -x, y, z
    return _LEFT.get(name) or _MIDDLE.get(name) or (0.0, 0.0, 0.0)


OFFSETS_J3: Floats = np.array([_offset(name) for name in JOINTS])
"""Each joint from its parent, at rest (a T-pose)."""
BONES_J: Floats = np.linalg.norm(OFFSETS_J3, axis=-1)
PELVIS = 0.92
"""Height of the pelvis of a standing person, ankles at `ANKLE`."""
ANKLE = 0.08


def unit(v: Floats) -> Floats:
    """Vectors of length one along the last axis (zero stays zero)."""
    length: Floats = np.linalg.norm(v, axis=-1, keepdims=True)
    return np.divide(v, length, out=np.zeros_like(v), where=length > 1e-9)


def turn(yaw: Floats) -> Floats:
    """(..., 3, 3) rotations about Y."""
    c, s, o, i = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw), np.ones_like(yaw)
    return np.stack([c, o, s, o, i, o, -s, o, c], axis=-1).reshape(*np.shape(yaw), 3, 3)


def tilt(pitch: Floats) -> Floats:
    """(..., 3, 3) rotations about X; positive leans forward."""
    c, s, o, i = np.cos(pitch), np.sin(pitch), np.zeros_like(pitch), np.ones_like(pitch)
    return np.stack([i, o, o, o, c, -s, o, s, c], axis=-1).reshape(*np.shape(pitch), 3, 3)


def to_6d(rotations: Floats) -> Floats:
    """(..., 3, 3) to (..., 6): the first two columns, row by row."""
    return rotations[..., :2].reshape(*rotations.shape[:-2], 6)


def from_6d(six: Floats) -> Floats:
    """(..., 6) to the nearest (..., 3, 3) by Gram-Schmidt."""
    columns = six.reshape(*six.shape[:-1], 3, 2)
    x = unit(columns[..., 0])
    y = unit(columns[..., 1] - (x * columns[..., 1]).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def forward(root_F3: Floats, root_F33: Floats, local_FR33: Floats) -> Floats:
    """Joint positions (F, J, 3) by forward kinematics on the shared bones."""
    joints: list[Floats] = [root_F3]
    frames: list[Floats] = [root_F33]
    for j in range(1, len(JOINTS)):
        parent = PARENTS[j]
        joints.append(joints[parent] + frames[parent] @ OFFSETS_J3[j])
        frames.append(frames[parent] @ local_FR33[..., j - 1, :, :])
    return np.stack(joints, axis=-2)


def root_rotation(joints_FJ3: Floats) -> Floats:
    """The pelvis's rotation (F, 3, 3) from the positions of both hips and the lowest spine joint."""
    x = unit(joints_FJ3[..., 1, :] - joints_FJ3[..., 2, :])
    up = joints_FJ3[..., 3, :] - joints_FJ3[..., 0, :]
    y = unit(up - (up * x).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def facing(joints_FJ3: Floats) -> Floats:
    """Yaw (F,) of the direction a person faces: Y x (right hip - left hip), 0 along +Z."""
    across = joints_FJ3[..., 2, :] - joints_FJ3[..., 1, :]
    return np.arctan2(across[..., 2], -across[..., 0])


def bend(start_F3: Floats, end_F3: Floats, pole_F3: Floats, upper: float, lower: float) -> tuple[Floats, Floats]:
    """Two-bone inverse kinematics: middle joint and reached end (F, 3), the middle on the side of the pole."""
    to = end_F3 - start_F3
    far = np.linalg.norm(to, axis=-1, keepdims=True)
    reach = np.clip(far, abs(upper - lower) + 1e-3, (upper + lower) * 0.9995)
    along = to / np.maximum(far, 1e-9)
    first = (upper**2 - lower**2 + reach**2) / (2 * reach)
    aside = unit(pole_F3 - (pole_F3 * along).sum(-1, keepdims=True) * along)
    out = np.sqrt(np.maximum(upper**2 - first**2, 0.0))
    return start_F3 + first * along + out * aside, start_F3 + reach * along
