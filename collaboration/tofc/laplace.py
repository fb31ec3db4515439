"""The Laplace distribution over whole numbers: what a value costs in bits, and the integer tables that code it.

Training uses continuous scales; both ends of a stream use one of ``SCALES``, whose probabilities are whole multiples of
2**-24. Those come from decimal arithmetic, which rounds alike everywhere, so that all machines have the same tables.
All scales are in units of the quantiser's step. Source: AI Flow, section II-B1; the continuous relaxation is that of
Balle et al. 2018.
"""

import math
from decimal import Context, Decimal, localcontext
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEAST, MOST, COUNT = 0.05, 64.0, 64
SCALES = tuple(round(LEAST * (MOST / LEAST) ** (i / (COUNT - 1)), 6) for i in range(COUNT))
"""The scales that streams use, evenly spaced in logarithms; rounded, so that powers may differ in the last bit."""
PARTS = 16
"""Means that tables have between two whole numbers."""
TABLES = COUNT * PARTS
PRECISION = 24
"""Bits of the probabilities of a table; no value costs more."""
NARROW = 64
"""The least support -64..64 of a table, at next to no cost. What lies outside is clipped: distortion, no error."""


def mass(k: Tensor, scale: Tensor) -> Tensor:
    """Probability of the interval k - 1/2 .. k + 1/2 under Laplace(0, scale); differentiable, for any real k."""
    size = k.abs()
    far = 0.5 * torch.exp(-(size.clamp(min=0.5) - 0.5) / scale) * -torch.expm1(-1 / scale)
    return torch.where(size >= 0.5, far, _near(size, scale))


def bits(k: Tensor, scale: Tensor) -> Tensor:
    """What a value costs under Laplace(0, scale); in logarithms, so that no value is too improbable for a gradient."""
    size = k.abs()
    far = 1 + (size.clamp(min=0.5) - 0.5) / (scale * math.log(2)) - torch.log2(-torch.expm1(-1 / scale))
    return torch.where(size >= 0.5, far, -torch.log2(_near(size, scale)))


def _near(size: Tensor, scale: Tensor) -> Tensor:
    # Arguments that the branch can take: a NaN in the branch not used would still reach the gradient.
    inside = size.clamp(max=0.5)
    return 1 - 0.5 * torch.exp((inside - 0.5) / scale) - 0.5 * torch.exp(-(inside + 0.5) / scale)


def nearest(scale: NDArray[np.float64]) -> NDArray[np.int32]:
    """Index of the entry of ``SCALES`` nearest in logarithms; float64 in, so that both ends compute the same."""
    place = np.log(np.clip(scale, LEAST, MOST) / LEAST) * ((COUNT - 1) / math.log(MOST / LEAST))
    return np.rint(place).astype(np.int32)


def shifted(mean: NDArray[np.float64], scale: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Splits Laplace(mean, scale): a whole number to subtract, and the number of the table that codes the rest."""
    parts = np.rint(np.clip(mean, -(2**20), 2**20) * PARTS).astype(np.int32) + PARTS // 2
    return parts // PARTS, nearest(scale) * PARTS + parts % PARTS


def centred(index: NDArray[np.int32]) -> NDArray[np.int32]:
    """Numbers of the tables of mean 0 for indices into ``SCALES``."""
    return index * PARTS + PARTS // 2


def numbered(number: int) -> NDArray[np.int64]:
    """The table of a number, 0 to ``TABLES`` - 1."""
    return table(SCALES[number // PARTS], (number % PARTS - PARTS // 2) / PARTS)


def support(scale: float) -> int:
    """S: tables hold -S..S; what lies outside has a probability below 2**-PRECISION."""
    return max(NARROW, math.ceil(scale * PRECISION * math.log(2)))


@cache
def table(scale: float, mean: float = 0.0) -> NDArray[np.int64]:
    """Counts of -S..S out of 2**PRECISION, each at least 1, for Laplace(mean, scale) with |mean| at most 1/2."""
    reach = support(scale)
    with localcontext(Context(prec=40)):
        below = _below(Decimal(scale), Decimal(-reach) - Decimal("0.5") - Decimal(mean), 2 * reach + 2)
        share = (2**PRECISION - 2 * reach - 1) / (below[-1] - below[0])
        counts = np.array([1 + int((b - a) * share) for a, b in pairwise(below)])
    counts[counts.argmax()] += 2**PRECISION - counts.sum()
    counts.flags.writeable = False
    return counts


def _below(scale: Decimal, first: Decimal, count: int) -> list[Decimal]:
    """Probabilities of less than ``first``, ``first`` + 1, ...; two exponentials, and products from there on."""
    ratio = (-1 / scale).exp()
    left = [(first / scale).exp() / 2]
    while len(left) < count and first + len(left) < 0:
        left.append(left[-1] / ratio)
    right = [(-(first + len(left)) / scale).exp() / 2]
    while len(left) + len(right) < count:
        right.append(right[-1] * ratio)
    return left + [1 - tail for tail in right]
