"""One decoder layer as few tensor operations as it takes: at these sizes the calls cost more than the arithmetic.

Reads layers of the Llama, Qwen2, Qwen3 and Mistral kind, dense or low-rank. Matrices of one input are joined in a copy,
inputs first, so that five rows cost little more than one; where they are so large that this gains nothing, the
layer's own are used.

Legend: N sessions, T new tokens, R = N T rows, L places, D model size, Q query heads, K key/value heads, H head size,
X = Q + 2 K.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aiflow.collaboration.familial.linear import First, LowRank

JOINED = 1 << 22
"""Matrices up to this many numbers are copied and joined."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the new tokens of a pass stand.

    Attributes:
        shape: N and T.
        rows: the sessions' rows in the buffers: a slice where they are neighbours, else their numbers (N,).
        flat_R: each token's place in the flattened buffers; padding stands beyond a session's end.
        place_NT: the same by session.
        length: places of the longest session, padding included.
        cos_RXH, sin_RXH: rotary angles of queries and keys, and none of values; the first half of sin is negative.
        mask_N1TL: -inf where a token must not look; None: nowhere (one token of one session).
    """

    shape: tuple[int, int]
    rows: slice | Tensor
    flat_R: Tensor
    place_NT: Tensor
    length: int
    cos_RXH: Tensor
    sin_RXH: Tensor
    mask_N1TL: Tensor | None


class Block:
    """A decoder layer and its keys and values (rows, places, 2 K, H)."""

    def __init__(self, layer: Any, window: int | None) -> None:
        """``window``: places that a token sees, itself included; None: all."""
        attention, mlp = layer.self_attn, layer.mlp
        config, self._window = attention.config, window
        self._scale, self._size, self._act = attention.scaling, attention.head_dim, mlp.act_fn
        self._queries, self._heads = config.num_attention_heads, config.num_key_value_heads
        self._first, self._second = Unit.of(layer.input_layernorm), Unit.of(layer.post_attention_layernorm)
        self._attend = Joined([attention.q_proj, attention.k_proj, attention.v_proj], self._first.gain)
        self._project = Joined([attention.o_proj])
        self._open = Joined([mlp.gate_proj, mlp.up_proj], self._second.gain)
        self._close = Joined([mlp.down_proj])
        norms = [getattr(attention, f"{x}_norm", None) for x in "qk"]
        self._norms: tuple[Unit, Tensor] | None = None
        if norms[0] is not None:
            units = [Unit.of(n) for n in norms]
            counts = (self._queries, self._heads)
            self._norms = units[0], torch.cat([u.gain.expand(n, -1) for u, n in zip(units, counts, strict=True)])
        self.cache = torch.empty(0)

    def reserve(self, rows: int, places: int, like: Tensor) -> None:
        """Room for ``rows`` x ``places``; what is there stays."""
        self.cache = grown(self.cache, (rows, places, 2 * self._heads, self._size), like)

    def __call__(self, h_RD: Tensor, at: Places) -> Tensor:
        """Reads the new tokens, and writes their keys and values."""
        x_RXH = self._attend(self._first(h_RD)).view(len(h_RD), -1, self._size)
        h_RD = self._project(self._look(x_RXH, at), h_RD)
        gate, up = self._open(self._second(h_RD)).chunk(2, dim=-1)
        return self._close(self._act(gate) * up, h_RD)

    def _look(self, x_RXH: Tensor, at: Places) -> Tensor:
        R, Q, K, H = len(x_RXH), self._queries, self._heads, self._size
        if self._norms is not None:
            unit, gain = self._norms
            x_RXH = torch.cat((unit(x_RXH[:, : Q + K]) * gain, x_RXH[:, Q + K :]), dim=1)
        x_RXH = torch.addcmul(x_RXH * at.cos_RXH, x_RXH.roll(H // 2, -1), at.sin_RXH)
        self.cache.view(-1, 2 * K, H).index_copy_(0, at.flat_R, x_RXH[:, Q:])
        kept = self.cache[at.rows, : at.length].transpose(1, 2)
        q_NQTH = x_RXH[:, :Q].view(*at.shape, Q, H).transpose(1, 2)
        out_NQTH = F.scaled_dot_product_attention(
            q_NQTH, kept[:, :K], kept[:, K:], attn_mask=self._mask(at), scale=self._scale, enable_gqa=K < Q
        )
        return out_NQTH.transpose(1, 2).reshape(R, Q * H)

    def _mask(self, at: Places) -> Tensor | None:
        if self._window is None or at.length <= self._window:
            return at.mask_N1TL
        far_N1TL = torch.arange(at.length, device=at.place_NT.device) <= at.place_NT[:, None, :, None] - self._window
        mask = torch.zeros(far_N1TL.shape, dtype=self.cache.dtype, device=far_N1TL.device)
        mask.masked_fill_(far_N1TL, -torch.inf)
        return mask if at.mask_N1TL is None else mask + at.mask_N1TL


class Joined:
    """Linears of one input, their outputs side by side; ``gain`` multiplies the input."""

    def __init__(self, linears: Sequence[Any], gain: Tensor | None = None) -> None:
        self._linears, self._gain = linears, gain
        self._matrices = _join([_matrices(x) for x in linears])
        self._bias: Tensor | None = None
        if self._matrices is not None:
            if gain is not None:
                self._matrices[0] = gain[:, None] * self._matrices[0]
            if any(_bias(x) is not None for x in linears):
                zeros = [self._matrices[0].new_zeros(x.out_features) for x in linears]
                both = zip(linears, zeros, strict=True)
                self._bias = torch.cat([zero if (b := _bias(x)) is None else b.detach() for x, zero in both])

    def __call__(self, x_RN: Tensor, add_RM: Tensor | None = None) -> Tensor:
        """(R, N) -> (R, M), plus ``add_RM``."""
        if self._matrices is None:
            x_RN = x_RN if self._gain is None else x_RN * self._gain
            found = torch.cat([x(x_RN) for x in self._linears], dim=-1)
            return found if add_RM is None else found + add_RM
        *first, last = self._matrices
        for matrix in first:
            x_RN = x_RN @ matrix
        found = x_RN @ last if add_RM is None else torch.addmm(add_RM, x_RN, last)
        return found if self._bias is None else found + self._bias


class Unit:
    """RMSNorm in three operations: to unit length here, while the rest is ``gain`` (D,), for whoever reads it."""

    def __init__(self, weight_D: Tensor, eps: float) -> None:
        weight_D = weight_D.detach()
        self.gain = weight_D * len(weight_D) ** 0.5
        kind = torch.promote_types(weight_D.dtype, torch.float32)
        self._least = torch.tensor((eps * len(weight_D)) ** 0.5, dtype=kind, device=weight_D.device)

    @classmethod
    def of(cls, norm: Any) -> "Unit":
        """Of a model's norm."""
        return cls(norm.weight, norm.variance_epsilon)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., D)."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=self._least.dtype)
        return (x / torch.hypot(length, self._least)).to(x.dtype)


class End:
    """A final norm and an LM head."""

    def __init__(self, norm: Any, head: Any) -> None:
        self._norm = Unit.of(norm)
        self._head = Joined([head], self._norm.gain)

    def __call__(self, h_RD: Tensor) -> Tensor:
        """Logits (R, V)."""
        return self._head(self._norm(h_RD))


def grown(old: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A buffer of ``shape`` with the content of a smaller one."""
    new = like.new_zeros(shape)
    if old.numel():
        new[: old.shape[0], : old.shape[1]] = old
    return new


def _matrices(linear: Any) -> list[Tensor] | None:
    """The factors of a linear, inputs first; None for an unknown or a large one."""
    found: list[Tensor] | None = None
    if type(linear) is torch.nn.Linear:
        found = [linear.weight.detach().T]
    elif isinstance(linear, LowRank | First):
        whole = linear.whole if isinstance(linear, First) else linear
        found = [whole.v[: linear.rank].detach().T, whole.u[: linear.rank].detach()]
    return None if found is None or max(m.numel() for m in found) > JOINED else found


def _join(each: Sequence[list[Tensor] | None]) -> list[Tensor] | None:
    known = [m for m in each if m is not None]
    if len(known) < len(each) or len({len(m) for m in known}) > 1:
        return None
    first = torch.cat([m[0] for m in known], dim=1).contiguous()
    if len(known[0]) == 1:
        return [first]
    last = known[0][1].contiguous() if len(known) == 1 else torch.block_diag(*(m[1] for m in known))  # type: ignore[no-untyped-call]
    return [first, last]


def _bias(linear: Any) -> Tensor | None:
    whole = linear.whole if isinstance(linear, First) else linear
    bias: Tensor | None = whole.bias
    return bias
