"""The networks of the parallel collaboration: a convolutional encoder, a near and a far decoder.

Both decoders estimate log depth; the anchor enters by formula (which side of it the estimate can fall) and as an
embedding that is joined to every level. So targets slide with the anchor instead of being learnt for each anew.
Images in, log depth out; knows no loss and no message.

Legend: B batch, C channels, h w rows and columns of a level, H W of the padded image, E embedding.
Source: AI Flow paper, section IV-B2; Metric-Solver; DPT's decoder.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from aiflow.diffusion.depth.representation import ANCHORS

SHARPNESS = 4.0
"""Of the mask at the anchor, per unit of log depth."""
LEVELS = 4
START = math.log(6.0)
"""Log depth of an untrained decoder, about."""
FARTHEST, NEAREST = 100.0, 1.0
"""Metres that no near estimate exceeds and no far one falls below: beyond the pool's last anchor, below its first."""


class ConvEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Image to four levels at 1/2, 1/4, 1/8 and 1/16 of its size.

    ``width``: columns to which an image is resized before (its shape is kept); ``mean`` and ``std`` of the input.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: Sequence[int] = (24, 48, 72, 96),
        width: int = 64,  # noqa: ARG002
        stride: int = 16,  # noqa: ARG002
        mean: Sequence[float] = (0.5, 0.5, 0.5),  # noqa: ARG002
        std: Sequence[float] = (0.25, 0.25, 0.25),  # noqa: ARG002
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        before = [3, *channels[:-1]]
        self.stages = nn.ModuleList(_Stage(a, b, i > 0) for i, (a, b) in enumerate(zip(before, channels, strict=True)))

    def forward(self, x_B3HW: Tensor) -> list[Tensor]:
        """Levels ``(B, C_i, H / 2^(i+1), W / 2^(i+1))`` of a normalised image."""
        levels = []
        for stage in self.stages:
            x_B3HW = stage(x_B3HW)
            levels.append(x_B3HW)
        return levels


class _Stage(nn.Module):
    """Half the size; a residual unit if ``deep``."""

    def __init__(self, before: int, after: int, deep: bool) -> None:
        super().__init__()
        self.down = Conv(before, after, stride=2) if deep else nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(8, after)
        self.unit = _Residual(after) if deep else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.down(x)))
        y: Tensor = x if self.unit is None else self.unit(x)
        return y


class AnchorEmbedding(nn.Module):
    """Distance to ``(B, E)``: a function of its logarithm, plus a vector of its own for the anchors of the pool."""

    def __init__(self, pool: Sequence[float], size: int) -> None:
        super().__init__()
        self.pool = list(pool)
        self.embedding = nn.Embedding(len(pool), size)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.mlp = nn.Sequential(nn.Linear(1, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, anchor_B: Tensor) -> Tensor:
        pool_N = torch.tensor(self.pool, dtype=torch.float32, device=anchor_B.device)
        away_BN = (torch.log(anchor_B)[:, None] - torch.log(pool_N)).abs()
        nearest_B = away_BN.argmin(dim=1)
        member_B1 = (away_BN.min(dim=1).values < 1e-3)[:, None]
        e_BE: Tensor = self.mlp(torch.log(anchor_B)[:, None] - math.log(10))
        own_BE: Tensor = self.embedding(nearest_B)
        return e_BE + member_B1 * own_BE


class Conv(nn.Module):
    """3x3 or 1x1 convolution whose kernel is kept as a matrix ``(out, in * size * size)``, as Muon wants it."""

    def __init__(self, before: int, after: int, size: int = 3, stride: int = 1) -> None:
        super().__init__()
        plain = nn.Conv2d(before, after, size)
        self.weight, self.bias = nn.Parameter(plain.weight.detach().flatten(1)), plain.bias
        self.size, self.stride = size, stride

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.reshape(len(self.weight), -1, self.size, self.size)
        return F.conv2d(x, kernel, self.bias, stride=self.stride, padding=self.size // 2)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = Conv(width, width), Conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.two(F.relu(self.one(F.relu(x))))
        return y


class Trunk(nn.Module):
    """DPT-like: every level projected, refined and merged from coarse to fine; ``outputs`` maps at twice level 0.

    ``widths``: channels at each level. ``embed``: size of a vector that is joined to every level (0: none);
    concatenation before a 1x1 convolution is the sum of two linear maps, and so it is written.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int], outputs: int, embed: int = 0) -> None:
        super().__init__()
        fine = widths[0]
        self.project = nn.ModuleList(Conv(c, w, 1) for c, w in zip(channels, widths, strict=True))
        self.join = nn.ModuleList(nn.Linear(embed, w, bias=False) for w in widths) if embed else None
        for layer in self.join or ():
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        self.skip = nn.ModuleList(_Residual(w) for w in widths)
        self.merge = nn.ModuleList(_Residual(w) for w in widths)
        self.up = nn.ModuleList(Conv(a, b, 1) for b, a in itertools.pairwise(widths))
        last = nn.Conv2d(fine, 4 * outputs, 1)
        last.weight.data = last.weight.data[::4].repeat_interleave(4, dim=0)  # no checkerboard at the start
        last.bias = nn.Parameter(torch.zeros(4 * outputs))
        self.head = nn.Sequential(Conv(fine, fine), nn.ReLU(), last)

    def forward(self, levels: Sequence[Tensor], e_BE: Tensor | None = None) -> Tensor:
        """``(B, outputs, H, W)``, float32. ``levels`` of one image serve a batch of embeddings."""
        path: Tensor | None = None
        for i in reversed(range(len(self.project))):
            x = self.project[i](levels[i])
            if self.join is not None and e_BE is not None:
                x = x + self.join[i](e_BE)[..., None, None]
            x = self.skip[i](x)
            if path is not None:
                x = x + F.interpolate(self.up[i](path), size=x.shape[-2:], mode="bilinear", align_corners=False)
            path = self.merge[i](x)
        assert path is not None
        return F.pixel_shuffle(self.head(path).float(), 2)


class NearDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Scaled near depth and the mask. ``encoder``: fingerprint of the encoder it was trained with; empty: not said."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: Sequence[int] = (24, 48, 72, 96),
        widths: Sequence[int] = (24, 48, 64, 64),
        embed: int = 32,
        pool: Sequence[float] = ANCHORS,
        encoder: str = "",  # noqa: ARG002
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.anchor = AnchorEmbedding(pool, embed)
        self.trunk = Trunk(channels, widths, 2, embed)

    def estimate(self, levels: Sequence[Tensor], anchor_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log depth, not bound to the anchor, ``(B, H, W)`` and the mask's logit ``(B, H, W)``."""
        y, delta = self.trunk(levels, self.anchor(anchor_B)).unbind(1)
        z = math.log(FARTHEST) - F.softplus(math.log(FARTHEST) - START - y)
        return z, SHARPNESS * (torch.log(anchor_B)[:, None, None] - z) + delta

    def forward(self, levels: Sequence[Tensor], anchor_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log depth up to the log anchor ``(B, H, W)`` and the mask's logit ``(B, H, W)``."""
        z, logit = self.estimate(levels, anchor_B)
        return torch.minimum(z, torch.log(anchor_B)[:, None, None]), logit


class FarDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Tapered far depth. ``taper``, ``k``, ``limit``: see `representation.Taper`."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: Sequence[int] = (24, 48, 72, 96),
        widths: Sequence[int] = (24, 48, 64, 64),
        embed: int = 32,
        pool: Sequence[float] = ANCHORS,
        taper: str = "relative",  # noqa: ARG002
        k: float = 0.5,  # noqa: ARG002
        limit: float = 300.0,  # noqa: ARG002
        encoder: str = "",  # noqa: ARG002
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.anchor = AnchorEmbedding(pool, embed)
        self.trunk = Trunk(channels, widths, 1, embed)

    def estimate(self, levels: Sequence[Tensor], anchor_B: Tensor) -> Tensor:
        """Log depth, not bound to the anchor, ``(B, H, W)``."""
        y: Tensor = self.trunk(levels, self.anchor(anchor_B))[:, 0]
        return math.log(NEAREST) + F.softplus(y + START - math.log(NEAREST))

    def forward(self, levels: Sequence[Tensor], anchor_B: Tensor) -> Tensor:
        """Log depth from the log anchor on ``(B, H, W)``."""
        return torch.maximum(self.estimate(levels, anchor_B), torch.log(anchor_B)[:, None, None])


def parameters(*modules: Any) -> int:
    """How many weights."""
    return sum(p.numel() for module in modules for p in module.parameters())
