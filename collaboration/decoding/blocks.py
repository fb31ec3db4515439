"""One decoder layer as few tensor operations as it takes: at these sizes the calls cost more than the arithmetic.

The weights stay where they are, in transformers' layers of the Llama, Qwen2, Qwen3 and Mistral kind or in branches.

Legend: N sessions, T new tokens, L places, D model size, Q query heads, K key/value heads, G = Q / K, H head size.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the new tokens of a pass stand.

    Attributes:
        row_N1: each session's row in the buffers; ``first``: they are the rows 0, 1, ..., N - 1.
        place_NT: places of the new tokens; padding stands beyond a session's end.
        length: places of the longest session, padding included.
        cos_NTH, sin_NTH: rotary angles.
        blocked_N1TL: True where a token must not look; None: nowhere (one token of one session).
    """

    row_N1: Tensor
    first: bool
    place_NT: Tensor
    length: int
    cos_NTH: Tensor
    sin_NTH: Tensor
    blocked_N1TL: Tensor | None


class Block:
    """A decoder layer with buffers (rows, K, places, H) for its keys and values."""

    def __init__(self, layer: Any, window: int | None) -> None:
        """``window``: places that a token sees, itself included; None: all."""
        attention, config = layer.self_attn, layer.self_attn.config
        self._layer, self._attention, self._window = layer, attention, window
        self._size = attention.head_dim
        self._heads = config.num_key_value_heads
        self._groups = config.num_attention_heads // self._heads
        self._norms = [getattr(attention, f"{x}_norm", None) for x in "qk"]
        self.keys = self.values = torch.empty(0)

    def reserve(self, rows: int, places: int, like: Tensor) -> None:
        """Room for ``rows`` x ``places``; what is there stays."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = like.new_zeros(rows, self._heads, places, self._size)
            if old.numel():
                new[: old.shape[0], :, : old.shape[2]] = old
            setattr(self, name, new)

    def __call__(self, h_NTD: Tensor, at: Places) -> Tensor:
        """Reads the new tokens, and writes their keys and values."""
        layer, mlp = self._layer, self._layer.mlp
        h_NTD = h_NTD + self._attend(_norm(layer.input_layernorm, h_NTD), at)
        x_NTD = _norm(layer.post_attention_layernorm, h_NTD)
        out: Tensor = h_NTD + mlp.down_proj(mlp.act_fn(mlp.gate_proj(x_NTD)) * mlp.up_proj(x_NTD))
        return out

    def _attend(self, x_NTD: Tensor, at: Places) -> Tensor:
        N, T, _ = x_NTD.shape
        a, K, G, H = self._attention, self._heads, self._groups, self._size
        q, k = a.q_proj(x_NTD).view(N, T, K * G, H), a.k_proj(x_NTD).view(N, T, K, H)
        if self._norms[0] is not None:
            q, k = _norm(self._norms[0], q), _norm(self._norms[1], k)
        cos, sin = at.cos_NTH[:, :, None], at.sin_NTH[:, :, None]
        self.keys[at.row_N1, :, at.place_NT] = k * cos + _half(k) * sin
        self.values[at.row_N1, :, at.place_NT] = a.v_proj(x_NTD).view(N, T, K, H)
        keys, values = self._used(self.keys, at), self._used(self.values, at)
        q = (q * cos + _half(q) * sin).view(N, T, K, G, H).permute(0, 2, 3, 1, 4).reshape(N, K, G * T, H)
        scores = (q @ keys.transpose(-1, -2)) * a.scaling
        blocked = self._blocked(at)
        if blocked is not None:
            scores.view(N, K, G, T, -1).masked_fill_(blocked[:, :, None], -torch.inf)
        out = scores.softmax(-1) @ values
        projected: Tensor = a.o_proj(out.view(N, K, G, T, H).permute(0, 3, 1, 2, 4).reshape(N, T, K * G * H))
        return projected

    def _used(self, buffer: Tensor, at: Places) -> Tensor:
        rows = buffer[: len(at.row_N1)] if at.first else buffer[at.row_N1[:, 0]]
        return rows[:, :, : at.length]

    def _blocked(self, at: Places) -> Tensor | None:
        if self._window is None or at.length <= self._window:
            return at.blocked_N1TL
        far_N1TL = torch.arange(at.length, device=at.place_NT.device) <= at.place_NT[:, None, :, None] - self._window
        return far_N1TL if at.blocked_N1TL is None else far_N1TL | at.blocked_N1TL


def _norm(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _half(x: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return torch.cat((-right, left), dim=-1)
