"""Intervals and p-values that stay small for many questions: draws count distinct values, not questions. Pure numpy.

The law is that of drawing every question anew. Where few scores are distinct (right, wrong) a run of 14,000 questions
costs no more than one of 80. Questions of one group are drawn together.

Legend: G groups, K distinct (sum, count) pairs of groups, B draws.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from aiflow.bench.stats import DRAWS, Estimate, Floats

BLOCK = 20_000_000  # cells of a matrix of draws that is held at once


def mean(values: Sequence[float], groups: Sequence[Hashable] | None = None, seed: int = 0) -> Estimate:
    """The mean with its 95 % percentile bootstrap interval. Raises ValueError without values."""
    lo, hi = np.percentile(draws(values, groups, seed), [2.5, 97.5])
    return Estimate(float(np.mean(values)), float(lo), float(hi))


def p_value(changes: Sequence[float], groups: Sequence[Hashable] | None = None, seed: int = 0) -> float:
    """Two-sided p-value of paired differences: how often a sum with random signs is as far from 0 (Fisher 1935).

    The signs of a group change together. Never 0; without any difference 1, and 1 for a single one, however large.
    """
    sums_G = _grouped(np.asarray(changes, dtype=np.float64), groups)[:, 0]
    sizes_K, often_K = np.unique(np.round(np.abs(sums_G), 9), return_counts=True)
    rng, seen, far = np.random.default_rng(seed), abs(float(sums_G.sum())), 0
    block = max(1, BLOCK // len(often_K))
    for start in range(0, DRAWS, block):
        up_BK = rng.binomial(often_K, 0.5, size=(min(block, DRAWS - start), len(often_K)))
        far += int((np.abs((2 * up_BK - often_K) @ sizes_K) >= seen - 1e-6).sum())
    return (far + 1) / (DRAWS + 1)


def draws(
    values: Sequence[float], groups: Sequence[Hashable] | None = None, seed: int = 0, count: int = DRAWS
) -> Floats:
    """The means of ``count`` bootstrap draws. Raises ValueError without values."""
    if not len(values):
        raise ValueError("a mean needs one value or more, got none.")
    pairs_G2 = _grouped(np.asarray(values, dtype=np.float64), groups)
    distinct_K2, often_K = np.unique(pairs_G2, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    shares_K, parts = often_K / often_K.sum(), []
    block = max(1, BLOCK // len(often_K))
    for start in range(0, count, block):
        taken_BK = rng.multinomial(len(pairs_G2), shares_K, size=min(block, count - start))
        sums_B2 = taken_BK @ distinct_K2
        parts.append(sums_B2[:, 0] / sums_B2[:, 1])
    return np.concatenate(parts)


def _grouped(values_Q: Floats, groups: Sequence[Hashable] | None) -> Floats:
    """(sum, count) of each group; without groups each value is its own."""
    if groups is None:
        return np.stack([values_Q, np.ones_like(values_Q)], axis=1)
    places: dict[Hashable, int] = {}
    index_Q = np.array([places.setdefault(group, len(places)) for group in groups])
    return np.stack([np.bincount(index_Q, values_Q), np.bincount(index_Q).astype(np.float64)], axis=1)
