"""Intervals and differences over questions by the bootstrap, paired tests. Pure numpy; knows no models or suites.

A question is the unit that is drawn (its turns stay together), or a group of questions. Draws count distinct values
instead of units: the law is that of drawing every unit anew, and 14,000 right-or-wrong answers cost what 80 do.

Legend: Q questions, G groups drawn together, K distinct (sum, count) pairs of groups, B draws.
"""

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import lgamma, log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Groups = Sequence[Hashable]
DRAWS = 10_000
BLOCK = 20_000_000
"""Cells of a matrix of draws that is held at once."""


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; NaN where there was nothing to average."""

    value: float
    lo: float
    hi: float

    @property
    def ci(self) -> list[float] | None:
        """``[lo, hi]``, rounded for JSON; None without a value."""
        return None if np.isnan(self.value) else [round(self.lo, 4), round(self.hi, 4)]

    @property
    def rounded(self) -> float | None:
        """The value, rounded for JSON; None without one."""
        return None if np.isnan(self.value) else round(self.value, 4)


def known_mean(scores: Floats, axis: int) -> Floats:
    """The mean of what is not NaN along an axis; NaN where nothing is."""
    count = (~np.isnan(scores)).sum(axis=axis)
    mean: Floats = np.nansum(scores, axis=axis) / np.where(count, count, np.nan)
    return mean


def mean(
    scores_Q: Sequence[float] | Floats, seed: int = 0, draws: int = DRAWS, groups: Groups | None = None
) -> Estimate:
    """The mean over questions with its percentile bootstrap interval; questions without a score (NaN) are left out.

    NaN if none has one. ``groups``: a key for each question, those of equal key are drawn together. Raises ValueError
    without questions.
    """
    s_Q = np.asarray(scores_Q, dtype=np.float64)
    if s_Q.ndim != 1 or not s_Q.size:
        raise ValueError(f"a mean needs one score per question, got shape {s_Q.shape}.")
    known_Q = ~np.isnan(s_Q)
    if not known_Q.any():
        return Estimate(np.nan, np.nan, np.nan)
    kept = None if groups is None else [group for group, known in zip(groups, known_Q, strict=True) if known]
    lo, hi = np.percentile(means(s_Q[known_Q], seed, draws, kept), [2.5, 97.5])
    return Estimate(float(s_Q[known_Q].mean()), float(lo), float(hi))


def difference(
    a_Q: Sequence[float] | Floats,
    b_Q: Sequence[float] | Floats,
    seed: int = 0,
    draws: int = DRAWS,
    groups: Groups | None = None,
) -> Estimate:
    """Mean of ``a - b`` on the questions that both have, with its paired interval. Raises ValueError otherwise."""
    a, b = np.asarray(a_Q, dtype=np.float64), np.asarray(b_Q, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a paired difference needs the same questions, got {a.shape} and {b.shape}.")
    return mean(a - b, seed, draws, groups)


def means(values_Q: Floats, seed: int = 0, draws: int = DRAWS, groups: Groups | None = None) -> Floats:
    """The means of ``draws`` bootstrap samples of known values."""
    distinct_K2, often_K = np.unique(_grouped(values_Q, groups), axis=0, return_counts=True)
    rng, units = np.random.default_rng(seed), int(often_K.sum())
    block, parts = max(1, BLOCK // len(often_K)), []
    for start in range(0, draws, block):
        taken_BK = rng.multinomial(units, often_K / units, size=min(block, draws - start))
        sums_B2 = taken_BK @ distinct_K2
        parts.append(sums_B2[:, 0] / sums_B2[:, 1])
    return np.concatenate(parts)


def sign_flip(
    changes_Q: Sequence[float] | Floats, seed: int = 0, draws: int = DRAWS, groups: Groups | None = None
) -> float:
    """Two-sided p-value of paired differences: how often a sum with random signs is as far from 0 (Fisher 1935).

    The signs of a group change together. The observed signs count among the draws, so that it is never 0; without any
    difference it is 1. Raises ValueError without differences, or with unknown ones.
    """
    changes = np.asarray(changes_Q, dtype=np.float64)
    if changes.ndim != 1 or not changes.size or np.isnan(changes).any():
        raise ValueError(f"a paired test needs a known difference per question, got shape {changes.shape} or NaN.")
    sums_G = _grouped(changes, groups)[:, 0]
    sizes_K, often_K = np.unique(np.round(np.abs(sums_G), 9), return_counts=True)
    rng, seen, far = np.random.default_rng(seed), abs(float(sums_G.sum())), 0
    block = max(1, BLOCK // len(often_K))
    for start in range(0, draws, block):
        up_BK = rng.binomial(often_K, 0.5, size=(min(block, draws - start), len(often_K)))
        far += int((np.abs((2 * up_BK - often_K) @ sizes_K) >= seen - 1e-6).sum())
    return (far + 1) / (draws + 1)


def mcnemar(changes_Q: Sequence[float] | Floats) -> tuple[int, int, float]:
    """Questions won, lost, and the exact two-sided binomial p-value of that many wins among them (McNemar 1947)."""
    d = np.asarray(changes_Q, dtype=np.float64)
    won, lost = int(np.sum(d > 1e-12)), int(np.sum(d < -1e-12))
    total, few = won + lost, min(won, lost)
    terms = np.array([_log_choose(total, k) for k in range(few + 1)]) - total * log(2)
    return won, lost, float(min(1.0, 2 * np.exp(terms).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for having looked at all of them (Holm 1979), in the given order."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


@functools.lru_cache(maxsize=8)
def weights(questions: int, seed: int = 0, draws: int = DRAWS) -> Floats:
    """How often each bootstrap draw takes each question, as shares of 1: ``w_BQ``, for statistics that are no mean."""
    rng = np.random.default_rng(seed)
    w_BQ: Floats = rng.multinomial(questions, np.full(questions, 1 / questions), size=draws) / questions
    return w_BQ


def percentile(values: Sequence[float] | Floats, share: float) -> float:
    """The ``share`` (0..100) percentile with linear interpolation; 0 of nothing."""
    return float(np.percentile(np.asarray(values, dtype=np.float64), share)) if len(values) else 0.0


def _grouped(values_Q: Floats, groups: Groups | None) -> Floats:
    """(sum, count) of each group; without groups each value is its own."""
    if groups is None:
        return np.stack([values_Q, np.ones_like(values_Q)], axis=1)
    places: dict[Hashable, int] = {}
    index_Q = np.array([places.setdefault(group, len(places)) for group in groups])
    return np.stack([np.bincount(index_Q, values_Q), np.bincount(index_Q).astype(np.float64)], axis=1)


def _log_choose(total: int, few: int) -> float:
    return lgamma(total + 1) - lgamma(few + 1) - lgamma(total - few + 1)
