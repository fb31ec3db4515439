"""A linear layer of two factors whose components are stored row by row, so that its first rows are a smaller layer.

Legend: M outputs, N inputs, H components (the rank), T tokens. Source: AI Flow, section III-A1.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aiflow.errors import InputError


def rank_of(m: int, n: int, keep: float) -> int:
    """The rank that keeps the share ``keep`` of an (m, n) matrix's parameters: floor(keep m n / (m + n)).

    Raises:
        InputError: if ``keep`` is outside (0, 1] or no component fits.
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep={keep} is not usable; give the kept share of the parameters, above 0 and at most 1.")
    share = Fraction(str(keep))  # 0.29 * 100 is below 29 in binary
    rank = share.numerator * m * n // (share.denominator * (m + n))
    if rank < 1:
        raise InputError(
            f"keep={keep} leaves no component of a {m} x {n} matrix; give at least {(m + n) / (m * n):.4f}."
        )
    return rank


class LowRank(nn.Module):
    """``y = u^T (v x) + b`` with u (H, M) and v (H, N)."""

    def __init__(self, u_HM: Tensor, v_HN: Tensor, bias_M: Tensor | None = None) -> None:
        super().__init__()
        assert u_HM.shape[0] == v_HN.shape[0]
        self.u, self.v = nn.Parameter(u_HM), nn.Parameter(v_HN)
        self.bias = None if bias_M is None else nn.Parameter(bias_M)

    @property
    def rank(self) -> int:
        """Number of components."""
        return self.u.shape[0]

    @property
    def in_features(self) -> int:
        """N."""
        return self.v.shape[1]

    @property
    def out_features(self) -> int:
        """M."""
        return self.u.shape[1]

    def forward(self, x_TN: Tensor) -> Tensor:
        """(..., N) -> (..., M)."""
        return F.linear(F.linear(x_TN, self.v), self.u.T, self.bias)

    def first(self, rank: int) -> "First":
        """The layer of the first ``rank`` components: a view. Raises InputError outside 1..H."""
        return First(self, rank)

    @staticmethod
    def cat(layers: "Sequence[LowRank]") -> "LowRank":
        """The sum of several layers as one; the bias is the first one's."""
        u_HM = torch.cat([layer.u.detach() for layer in layers])
        v_HN = torch.cat([layer.v.detach() for layer in layers])
        return LowRank(u_HM, v_HN, None if layers[0].bias is None else layers[0].bias.detach())

    def extra_repr(self) -> str:
        """Shape and rank."""
        return f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank}"


def balanced(u_HM: Tensor, v_HN: Tensor) -> tuple[Tensor, Tensor]:
    """The same product with factors of equal norm, so that one learning rate suits both.

    The factors of a whitened SVD differ by orders of magnitude, since v undoes the scale of the calibration inputs.
    """
    scale = (v_HN.norm() / u_HM.norm().clamp_min(1e-30)).clamp_min(1e-30).sqrt()
    return u_HM * scale, v_HN / scale


class First(nn.Module):
    """The first components of a `LowRank` layer; memory and gradients are the whole layer's."""

    def __init__(self, whole: LowRank, rank: int) -> None:
        super().__init__()
        if not 1 <= rank <= whole.rank:
            raise InputError(f"rank {rank} is not usable; the layer has the ranks 1 to {whole.rank}.")
        self._whole = (whole,)  # a tuple, so that the parameters are not registered twice
        self.rank = rank

    @property
    def whole(self) -> LowRank:
        """The layer it is a part of."""
        return self._whole[0]

    @property
    def in_features(self) -> int:
        """N."""
        return self.whole.in_features

    @property
    def out_features(self) -> int:
        """M."""
        return self.whole.out_features

    def forward(self, x_TN: Tensor) -> Tensor:
        """(..., N) -> (..., M)."""
        whole = self.whole
        return F.linear(F.linear(x_TN, whole.v[: self.rank]), whole.u[: self.rank].T, whole.bias)

    def extra_repr(self) -> str:
        """Shape and rank."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, rank={self.rank} of {self.whole.rank}"
        )


def size(linear: Any) -> int:
    """Parameters that a linear layer uses, dense or low-rank, bias included."""
    if isinstance(linear, First | LowRank):
        bias = (linear.whole if isinstance(linear, First) else linear).bias
        return linear.rank * (linear.in_features + linear.out_features) + (0 if bias is None else bias.numel())
    return sum(p.numel() for p in linear.parameters())
