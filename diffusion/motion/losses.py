"""What the networks minimise, on normalised features and on joints in metres. Float32; knows no network.

Source: AI Flow section IV-B1 (L_rec, L_smooth, L_rela), InterGen (distance maps, bones, feet).

Legend: B scenes, P=2 persons, T frames, J=22 joints, C=262 features.
"""

from torch import Tensor

from aiflow.diffusion.motion.skeleton import CONTACT_JOINTS, PARENTS

NEAR = 1.0
"""Metres of reference distance up to which joint pairs of two persons count in `distance_map`."""
TOUCHING = 0.1
"""Metres of reference distance up to which a joint pair counts in `affinity`."""
AROUND = 5
"""Frames before and after a junction in which `smooth` looks."""


def joints(u_BPTC: Tensor) -> Tensor:
    """(B, P, T, J, 3) of features in metres."""
    return u_BPTC[..., :66].view(*u_BPTC.shape[:-1], 22, 3)


def _mean(value: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(value.dtype)
    return (value * weight).sum() / weight.sum().clamp_min(1)


def reconstruction(x_BPTC: Tensor, target_BPTC: Tensor, mask_BPT: Tensor) -> Tensor:
    """L_rec: mean squared error of normalised features."""
    return _mean(((x_BPTC - target_BPTC) ** 2).mean(dim=-1), mask_BPT)


def smooth(x_BPTC: Tensor, target_BPTC: Tensor, mask_BPT: Tensor, cue_BTC: Tensor) -> Tensor:
    """L_smooth: squared error of the joints' accelerations (normalised units) within AROUND frames of a junction."""
    error = _second(x_BPTC[..., :66] - target_BPTC[..., :66]).square().mean(dim=-1)
    near = junctions(cue_BTC)[:, None, 1:-1] & mask_BPT[..., 2:] & mask_BPT[..., :-2]
    return _mean(error, near)


def junctions(cue_BTC: Tensor) -> Tensor:
    """(B, T) True within AROUND frames of the border of two segments, read from the time cue."""
    since, until, number = cue_BTC[..., 2], cue_BTC[..., 3], cue_BTC[..., 1]
    there = cue_BTC[..., 5] > 0
    last = number == (number * there).amax(dim=-1, keepdim=True)
    return there & (((since < AROUND) & (number > 0)) | ((until < AROUND) & ~last))


def _second(v: Tensor) -> Tensor:
    return v[:, :, 2:] - 2 * v[:, :, 1:-1] + v[:, :, :-2]


def distance_map(j_BPTJ3: Tensor, target_BPTJ3: Tensor, mask_BPT: Tensor, near: float = NEAR) -> Tensor:
    """L_dm: squared error of the 22 x 22 distances between two persons, where the reference is below ``near``."""
    d, target = _between(j_BPTJ3), _between(target_BPTJ3)
    both = (mask_BPT[:, 0] & mask_BPT[:, 1])[..., None, None]
    return _mean((d - target) ** 2, both & (target < near))


def affinity(j_BPTJ3: Tensor, target_BPTJ3: Tensor, mask_BPT: Tensor) -> Tensor:
    """L_ja: squared distance of joint pairs of two persons that touch (reference below `TOUCHING`)."""
    both = (mask_BPT[:, 0] & mask_BPT[:, 1])[..., None, None]
    return _mean(_between(j_BPTJ3) ** 2, both & (_between(target_BPTJ3) < TOUCHING))


def _between(j_BPTJ3: Tensor) -> Tensor:
    gap = j_BPTJ3[:, 0, :, :, None] - j_BPTJ3[:, 1, :, None]
    return (gap.square().sum(dim=-1) + 1e-6).sqrt()


def bones(j_BPTJ3: Tensor, target_BPTJ3: Tensor, mask_BPT: Tensor) -> Tensor:
    """Squared error of bone lengths, metres."""
    lengths = [(j[..., 1:, :] - j[..., PARENTS[1:], :]).norm(dim=-1) for j in (j_BPTJ3, target_BPTJ3)]
    return _mean((lengths[0] - lengths[1]).square().mean(dim=-1), mask_BPT)


def feet(j_BPTJ3: Tensor, target_BPTC: Tensor, mask_BPT: Tensor) -> Tensor:
    """Squared speed (m/frame) of feet that are in contact in the reference (its last four features)."""
    at = j_BPTJ3[..., CONTACT_JOINTS, :]
    speed = (at[:, :, 1:] - at[:, :, :-1]).square().sum(dim=-1)
    down = (target_BPTC[:, :, :-1, 258:] > 0.5) & (target_BPTC[:, :, 1:, 258:] > 0.5)
    return _mean(speed, down & (mask_BPT[:, :, 1:] & mask_BPT[:, :, :-1])[..., None])


def relative(x_BTC: Tensor, kept_BTC: Tensor, mask_BT: Tensor) -> Tensor:
    """L_rela: ||phi_y - u_y||, the mean norm per frame of what the refiner changes, in normalised units / sqrt(262)."""
    change = ((x_BTC - kept_BTC).square().mean(dim=-1) + 1e-6).sqrt()
    return _mean(change, mask_BT)


def velocities(x_BPTC: Tensor, u_BPTC: Tensor, mask_BPT: Tensor) -> Tensor:
    """Squared difference (m/frame) between the predicted velocities and those of the reference positions."""
    j, target = joints(x_BPTC), joints(u_BPTC)
    error = ((j[:, :, 1:] - j[:, :, :-1]) - (target[:, :, 1:] - target[:, :, :-1])).square().sum(dim=-1).mean(dim=-1)
    return _mean(error, mask_BPT[:, :, 1:] & mask_BPT[:, :, :-1])
