"""Losses of near and far decoders and of single ones, on log depth. Knows no network and no data.

Labels reach `REACH` metres, as a sensor's do; farther surfaces have none, and sky is labelled as sky. Which losses the
authors used is in no source. Legend: B batch, H W pixels; ``log_*`` natural logarithm of metres.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from aiflow.diffusion.depth.representation import Taper, tapered

REACH = 80.0
FARTHEST = 20.0
"""Log metres that nothing lies beyond."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of the fused depth, of what each branch learns by itself, and of the ``other`` side in a branch's own loss."""

    fused: float = 1.0
    mask: float = 0.2
    own: float = 0.5
    other: float = 0.5
    taper: float = 0.1
    sky: float = 0.1


def labelled(depth_BHW: Tensor) -> Tensor:
    """Where depth is known."""
    return (depth_BHW > 0) & (depth_BHW <= REACH)


def mean(values: Tensor, where: Tensor) -> Tensor:
    """Over the chosen pixels; 0 if there are none."""
    return (values * where).sum() / where.sum().clamp(min=1)


def single(log_BHW: Tensor, depth_BHW: Tensor) -> Tensor:
    """Mean absolute error of log depth."""
    known = labelled(depth_BHW)
    target = torch.log(torch.where(known, depth_BHW, 1))
    return mean((log_BHW - target).abs(), known)


def silog(log_BHW: Tensor, depth_BHW: Tensor) -> Tensor:
    """Scale-invariant log error as Depth Anything V2 learns metric depth: sqrt(mean g^2 - mean(g)^2 / 2)."""
    known = labelled(depth_BHW)
    g = (log_BHW - torch.log(torch.where(known, depth_BHW, 1)))[known]
    return torch.sqrt((g**2).mean() - 0.5 * g.mean() ** 2)


def near_far(
    z_near: Tensor, logit: Tensor, z_far: Tensor, depth_BHW: Tensor, anchor_B: Tensor, taper: Taper, w: Weights
) -> Tensor:
    """Softly fused log depth, each branch mostly on its own side of the anchor, the mask, the taper, and sky.

    ``z_*``: log depth not bound to the anchor, so that a branch learns also from pixels it takes for the other's.
    """
    anchor = anchor_B[:, None, None]
    known, sky = labelled(depth_BHW), torch.isinf(depth_BHW)
    target = torch.log(torch.where(known, depth_BHW, 1))
    near, far = known & (depth_BHW <= anchor), known & (depth_BHW > anchor)
    share = torch.sigmoid(logit)
    off_near, off_far = (z_near - target).abs(), (z_far - target).abs()
    off = (share * z_near + (1 - share) * z_far - target).abs()
    # sky's log depth may grow without end: e^20 m is as far, and its exponential has a gradient
    fade = tapered(torch.maximum(torch.exp(z_far.clamp(max=FARTHEST)), anchor), anchor, taper)
    goal = tapered(torch.where(far, depth_BHW, anchor), anchor, taper)
    # a surface without a label lies beyond the reach: far from every anchor within it
    sided = known | sky | (anchor <= REACH)
    crossed = F.binary_cross_entropy_with_logits(logit, near.float(), reduction="none")
    own = mean(off_near, near) + mean(off_far, far)
    return (
        w.fused * mean(off, known)
        + w.own * (own + w.other * (mean(off_near, far) + mean(off_far, near))) / 2
        + w.mask * mean(crossed, sided)
        + w.taper * mean((fade - goal).abs(), far)
        + w.sky * mean(fade, sky)
    )
