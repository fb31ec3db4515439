"""From decoders' outputs to maps, and from maps to one depth: shared by the pipeline and the parties.

With one branch missing the other's depth comes, valid only where that branch can know it. Knows no message.

Legend: A anchors, h w the maps, H W the image. All float32, metres unless said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aiflow.diffusion.depth import representation as rep
from aiflow.diffusion.depth.representation import ANCHORS, Taper
from aiflow.errors import InputError

__all__ = ["ANCHORS", "Fused", "far_maps", "fuse_maps", "near_maps"]


@dataclass(frozen=True, kw_only=True)
class Fused:
    """All ``(H, W)``; ``depth`` is infinite where there is no surface and NaN where nothing is known."""

    depth: Tensor
    valid: Tensor
    """A finite depth is known."""
    sky: Tensor
    confidence: Tensor
    near: Tensor | None
    far: Tensor | None
    """At most the taper's limit."""
    mask: Tensor | None
    used: tuple[str, ...]
    advised: float
    """The anchor of a second pass."""


@torch.no_grad()
def near_maps(
    decoder: Any, levels: Sequence[Tensor], anchor_A11: Tensor, inner: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Scaled near depth and mask logit ``(A, h, w)`` of one image's levels; one anchor after another."""
    parts = [decoder(levels, anchor_1) for anchor_1 in anchor_A11[:, 0]]
    log_near, logit = (torch.cat(part) for part in zip(*parts, strict=True))
    scaled = rep.scaled(torch.exp(log_near), anchor_A11).clamp(0, 1)
    return _cut(scaled, inner), _cut(logit, inner)


@torch.no_grad()
def far_maps(decoder: Any, levels: Sequence[Tensor], anchor_A11: Tensor, inner: Sequence[int]) -> Tensor:
    """Tapered far depth ``(A, h, w)`` of one image's levels."""
    config = decoder.config
    taper = Taper(kind=config.taper, k=config.k, limit=config.limit)
    log_far = torch.cat([decoder(levels, anchor_1) for anchor_1 in anchor_A11[:, 0]])
    return _cut(rep.tapered(torch.exp(log_far), anchor_A11, taper).clamp(0, 1), inner)


def fuse_maps(
    anchor_A11: Tensor,
    size: tuple[int, int],
    *,
    scaled: Tensor | None,
    logit: Tensor | None,
    tapered_: Tensor | None,
    taper: Taper,
    pool: Sequence[float] = ANCHORS,
) -> Fused:
    """One depth: fused at each anchor, then the mean log depth over the anchors, then resized to the image.

    Raises InputError if neither branch is there.
    """
    near = None if scaled is None else rep.near_depth(scaled, anchor_A11)
    far = None if tapered_ is None else rep.far_depth(tapered_, anchor_A11, taper)
    share = None if logit is None else torch.sigmoid(logit)
    if near is not None and logit is not None and share is not None:
        certain = (2 * share - 1).abs()
        depth_A = torch.where(logit > 0, near, torch.nan) if far is None else rep.fuse(near, far, logit)
    elif far is not None:
        beyond = rep.beyond(far, anchor_A11)
        certain = 2 * beyond - 1
        depth_A = torch.where(beyond > 0.5, far, torch.nan)
    else:
        raise InputError("neither the near nor the far branch is there; there is nothing to fuse.")
    depth = rep.average(depth_A, taper.limit)
    known = ~torch.isnan(depth_A)
    confidence = (certain * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)
    full = rep.resize_depth(depth, size)
    return Fused(
        depth=full,
        valid=torch.isfinite(full),
        sky=torch.isinf(full),
        confidence=rep.resize(confidence, size),
        near=None if near is None else rep.resize(rep.average(near, taper.limit), size),
        far=None if far is None else rep.resize(rep.average(far, taper.limit).clamp(max=taper.limit), size),
        mask=None if share is None else rep.resize(share.mean(dim=0), size),
        used=tuple(name for name, maps in (("near", near), ("far", far)) if maps is not None),
        advised=rep.automatic(depth, pool),
    )


def _cut(maps: Tensor, inner: Sequence[int]) -> Tensor:
    return maps[..., : inner[0], : inner[1]].contiguous()
