"""The transformer that the systems share: attention and AdaLN blocks. Knows no data, no noise schedule.

Shapes: B batch, T places, S places of the other sequence, D width, H heads, E width of the conditioning vector.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def timestep_embedding(t_B: Tensor, width: int, longest: float = 10_000.0) -> Tensor:
    """Sinusoids of a step (or of any number) -> (B, width), cosines first. ``width`` must be even."""
    half = width // 2
    freqs = torch.exp(-math.log(longest) * torch.arange(half, device=t_B.device, dtype=torch.float32) / half)
    angles = t_B.float()[:, None] * freqs
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def positions(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Sinusoids of 0 ... length - 1 -> (length, width)."""
    return timestep_embedding(torch.arange(length, device=device), width)


class Attention(nn.Module):
    """Multi-head attention from x to itself, or to another sequence. ``zero``: begins by giving nothing."""

    def __init__(self, width: int, heads: int, other: int | None = None, zero: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(other or width, 2 * width)
        self.out = nn.Linear(width, width)
        if zero:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, x_BTD: Tensor, other_BSD: Tensor | None = None, mask_BS: Tensor | None = None) -> Tensor:
        """(B, T, D); ``mask_BS`` is True where a place of the attended sequence exists (at least one per row).

        A mask (B, T, S) says it for each place of x.
        """
        source = x_BTD if other_BSD is None else other_BSD
        q = self._split(self.to_q(x_BTD))
        k, v = (self._split(part) for part in self.to_kv(source).chunk(2, dim=-1))
        mask = None if mask_BS is None else mask_BS[:, None, None, :] if mask_BS.ndim == 2 else mask_BS[:, None]
        if q.device.type == "cpu" and q.dtype == torch.bfloat16:  # its backward pass takes 6 x that of float32
            with torch.autocast("cpu", enabled=False):
                seen = functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)
        else:
            seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out(seen.to(q.dtype).transpose(1, 2).flatten(2))
        return out

    def _split(self, x_BTD: Tensor) -> Tensor:
        batch, places, width = x_BTD.shape
        return x_BTD.view(batch, places, self.heads, width // self.heads).transpose(1, 2)


class AdaLNBlock(nn.Module):
    """Self-attention, attention to another sequence (if ``other`` says its width) and an MLP, all steered by ``e_BE``.

    Each part is ``x + gate * part(norm(x) * (1 + scale) + shift)`` with the three read from e; gates begin at 0, so a
    new block is the identity (AdaLN-zero, DiT).
    """

    def __init__(self, width: int, heads: int, cond: int, *, other: int | None = None, expand: int = 2) -> None:
        super().__init__()
        self.parts = 2 if other is None else 3
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads)
        self.cross = None if other is None else Attention(width, heads, other)
        self.mlp = nn.Sequential(
            nn.Linear(width, expand * width), nn.GELU(approximate="tanh"), nn.Linear(expand * width, width)
        )
        self.modulation = nn.Linear(cond, 3 * self.parts * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x_BTD: Tensor,
        e_BE: Tensor,
        mask_BT: Tensor | None = None,
        other_BSD: Tensor | None = None,
        other_mask_BS: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D). Masks are True where a place exists."""
        steer = self.modulation(functional.silu(e_BE))[:, None].chunk(3 * self.parts, dim=-1)
        x_BTD = x_BTD + steer[2] * self.attention(self._steered(x_BTD, steer[0], steer[1]), None, mask_BT)
        if self.cross is not None:
            assert other_BSD is not None, "this block attends to another sequence"
            asked = self._steered(x_BTD, steer[6], steer[7])
            x_BTD = x_BTD + steer[8] * self.cross(asked, other_BSD, other_mask_BS)
        out: Tensor = x_BTD + steer[5] * self.mlp(self._steered(x_BTD, steer[3], steer[4]))
        return out

    def _steered(self, x_BTD: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        steered: Tensor = self.norm(x_BTD) * (1 + scale) + shift
        return steered
