"""From what a person does (root, hands, feet) to joints and local rotations, frame by frame, for many frames at once.

Knows no actions and no time: every frame is solved alone, exactly, on the shared bones.

Legend: F frames, J=22 joints, R=21 local rotations.
"""

from dataclasses import dataclass

import numpy as np

from aiflow.diffusion.motion.skeleton import BONES_J, OFFSETS_J3, Floats, bend, tilt, to_6d, turn, unit


@dataclass(kw_only=True)
class Track:
    """What one person does. World coordinates, metres, radians; changed in place while a segment is built."""

    root_F3: Floats
    """The pelvis."""
    yaw_F: Floats
    pitch_F: Floats
    """Lean of the upper body; positive is forward."""
    hands_F23: Floats
    """Where the wrists should be, left and right."""
    feet_F24: Floats
    """Ankle positions and the yaw of each foot."""

    def __len__(self) -> int:
        return len(self.yaw_F)


def joined(tracks: list[Track]) -> Track:
    """One track after the other."""
    names = ("root_F3", "yaw_F", "pitch_F", "hands_F23", "feet_F24")
    return Track(**{name: np.concatenate([getattr(track, name) for track in tracks]) for name in names})


def torso(track: Track) -> tuple[dict[int, Floats], dict[int, Floats]]:
    """Positions and global rotations of pelvis, hips, spine, neck, head, collars and shoulders, by joint."""
    lean = track.pitch_F
    spin = turn(track.yaw_F)
    at = {0: track.root_F3}
    rotation = {0: spin @ tilt(0.4 * lean)}
    for joint, parent, share in ((3, 0, 0.6), (6, 3, 0.8), (9, 6, 1.0)):
        at[joint] = at[parent] + rotation[parent] @ OFFSETS_J3[joint]
        rotation[joint] = spin @ tilt(share * lean)
    for joint, parent in ((1, 0), (2, 0), (12, 9), (13, 9), (14, 9), (15, 12), (16, 13), (17, 14)):
        at[joint] = at[parent] + rotation[parent] @ OFFSETS_J3[joint]
        rotation[joint] = rotation[parent]
    return at, rotation


def solve(track: Track) -> tuple[Floats, Floats]:
    """Joints (F, J, 3) and local 6D rotations (F, R, 6)."""
    at, rotation = torso(track)
    spin = turn(track.yaw_F)
    for side, sign in ((0, 1.0), (1, -1.0)):
        _leg(track, side, spin, at, rotation)
        _arm(track, side, sign, spin, at, rotation)
    joints_FJ3 = np.stack([at[j] for j in range(22)], axis=1)
    parents = (0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
    local = [np.swapaxes(rotation[p], -1, -2) @ rotation[j] for j, p in enumerate(parents, 1)]
    return joints_FJ3, to_6d(np.stack(local, axis=1))


def _leg(track: Track, side: int, spin: Floats, at: dict[int, Floats], rotation: dict[int, Floats]) -> None:
    hip, knee, ankle, foot = 1 + side, 4 + side, 7 + side, 10 + side
    ahead, left = spin[..., 2], spin[..., 0]
    at[knee], at[ankle] = bend(at[hip], track.feet_F24[:, side, :3], ahead, BONES_J[knee], BONES_J[ankle])
    rotation[hip] = _bone_frame(at[hip] - at[knee], left)
    rotation[knee] = _bone_frame(at[knee] - at[ankle], left)
    rotation[ankle] = turn(track.feet_F24[:, side, 3])
    at[foot] = at[ankle] + rotation[ankle] @ OFFSETS_J3[foot]
    rotation[foot] = rotation[ankle]


def _arm(
    track: Track, side: int, sign: float, spin: Floats, at: dict[int, Floats], rotation: dict[int, Floats]
) -> None:
    shoulder, elbow, wrist = 16 + side, 18 + side, 20 + side
    pole = spin @ np.array([0.6 * sign, -0.3, -1.0])
    at[elbow], at[wrist] = bend(at[shoulder], track.hands_F23[:, side], pole, BONES_J[elbow], BONES_J[wrist])
    upper, lower = unit(at[elbow] - at[shoulder]), unit(at[wrist] - at[elbow])
    y = -sign * unit(np.cross(pole, at[wrist] - at[shoulder]))  # normal of the plane in which the arm bends
    for joint, bone in ((shoulder, upper), (elbow, lower)):
        x = sign * bone
        rotation[joint] = np.stack([x, y, np.cross(x, y)], axis=-1)
    rotation[wrist] = rotation[elbow]


def _bone_frame(up: Floats, left: Floats) -> Floats:
    """The rotation whose Y is ``up`` and whose X is nearest to ``left``."""
    y = unit(up)
    x = unit(left - (left * y).sum(-1, keepdims=True) * y)
    return np.stack([x, y, np.cross(x, y)], axis=-1)
