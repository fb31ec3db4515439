"""Intervals and differences over questions, by the bootstrap. Pure numpy; knows nothing of models or suites.

Legend: Q questions, B bootstrap draws. A question is the unit that is drawn (its turns stay together), and every
estimate of one run uses the same draws, so differences are paired.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 10_000


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


@functools.lru_cache(maxsize=8)
def weights(questions: int, seed: int = 0, draws: int = DRAWS) -> Floats:
    """How often each bootstrap draw takes each question, as shares of 1: ``w_BQ``."""
    rng = np.random.default_rng(seed)
    w_BQ: Floats = rng.multinomial(questions, np.full(questions, 1 / questions), size=draws) / questions
    return w_BQ


def mean(scores_Q: Sequence[float] | Floats, seed: int = 0, draws: int = DRAWS) -> Estimate:
    """The mean over questions with its percentile bootstrap interval; questions without a score (NaN) are left out.

    NaN if none has one. Raises ValueError without questions.
    """
    s_Q = np.asarray(scores_Q, dtype=np.float64)
    if s_Q.ndim != 1 or not s_Q.size:
        raise ValueError(f"a mean needs one score per question, got shape {s_Q.shape}.")
    known_Q = ~np.isnan(s_Q)
    if not known_Q.any():
        return Estimate(np.nan, np.nan, np.nan)
    w_BQ = weights(s_Q.size, seed, draws)
    share_B = 1.0 if known_Q.all() else np.maximum(w_BQ @ known_Q, 1e-12)
    mean_B = w_BQ @ np.nan_to_num(s_Q) / share_B
    lo, hi = np.percentile(mean_B, [2.5, 97.5])
    return Estimate(float(np.nanmean(s_Q)), float(lo), float(hi))


def difference(
    a_Q: Sequence[float] | Floats, b_Q: Sequence[float] | Floats, seed: int = 0, draws: int = DRAWS
) -> Estimate:
    """Mean of ``a - b`` on the questions that both have, with its paired interval. Raises ValueError otherwise."""
    a, b = np.asarray(a_Q, dtype=np.float64), np.asarray(b_Q, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a paired difference needs the same questions, got {a.shape} and {b.shape}.")
    return mean(a - b, seed, draws)


def percentile(values: Sequence[float] | Floats, share: float) -> float:
    """The ``share`` (0..100) percentile with linear interpolation; 0 of nothing."""
    return float(np.percentile(np.asarray(values, dtype=np.float64), share)) if len(values) else 0.0
