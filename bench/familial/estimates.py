"""Scores of members on several suites, their ratios, and intervals over items and over training seeds. Pure numpy.

An average weighs every suite alike; the bootstrap draws units within each suite, the same ones for all members and
seeds, so that ratios are paired. Two neighbouring items that share a picture or a dialogue are one unit.

Legend: K models (members, or members of all seeds), S suites, U units, B bootstrap draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from aiflow.bench import stats
from aiflow.bench.stats import Estimate, Floats
from aiflow.errors import InputError

Marks = Mapping[str, Sequence[float]]
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The 97.5 % point of Student's t with 1, 2, ... degrees of freedom."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Scores of K models on S suites: as measured (``score_KS``) and in each bootstrap draw (``drawn_BKS``)."""

    suites: tuple[str, ...]
    score_KS: Floats
    drawn_BKS: Floats

    def average(self, model: int, suites: Sequence[str]) -> float:
        """The mean score over some suites."""
        return float(self._of(self.score_KS, suites)[model])

    def mean(self, model: int, suites: Sequence[str]) -> Estimate:
        """The mean score over some suites with its interval."""
        return interval(self.average(model, suites), self._of(self.drawn_BKS, suites)[:, model])

    def difference(self, one: int, other: int, suites: Sequence[str]) -> Estimate:
        """Mean score of ``one`` less that of ``other``, with its paired interval."""
        drawn_BK = self._of(self.drawn_BKS, suites)
        value = self.average(one, suites) - self.average(other, suites)
        return interval(value, drawn_BK[:, one] - drawn_BK[:, other])

    def relative(self, pairs: Sequence[tuple[int, int]], suites: Sequence[str], chance: float = 0.0) -> Estimate | None:
        """Mean over ``pairs`` (model, reference) of the ratio of their averages, both less ``chance``.

        None where a reference is not above chance: nothing is relative to it.
        """
        scores_K, drawn_BK = self._of(self.score_KS, suites) - chance, self._of(self.drawn_BKS, suites) - chance
        if min(scores_K[reference] for _, reference in pairs) <= 0:
            return None
        value = np.mean([scores_K[model] / scores_K[reference] for model, reference in pairs])
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw without a right answer, possible with few items
            drawn_B = np.mean([drawn_BK[:, model] / drawn_BK[:, reference] for model, reference in pairs], axis=0)
        return interval(float(value), drawn_B[np.isfinite(drawn_B)])

    def _of(self, scores: Floats, suites: Sequence[str]) -> Floats:
        chosen: Floats = scores[..., [self.suites.index(name) for name in suites]].mean(axis=-1)
        return chosen


def tabulate(marks: Sequence[Marks], pairs: Sequence[str] = (), draws: int = stats.DRAWS) -> Table:
    """From the marks of K models on the same items; in the suites ``pairs`` two neighbours are one unit.

    Raises InputError for models with different suites or numbers of items.
    """
    if not marks or len({tuple((name, len(values)) for name, values in found.items()) for found in marks}) != 1:
        raise InputError("the models were not measured on the same items; give all of them the same suites.")
    suites = tuple(marks[0])
    score_KS = np.array([[np.mean(found[name]) for name in suites] for found in marks])
    drawn_BKS = np.empty((draws, *score_KS.shape))
    for s, name in enumerate(suites):
        size = 2 if name in pairs else 1
        sums_KU = np.array([units(found[name], size) for found in marks])
        counts_U = units(np.ones(len(marks[0][name])), size)
        # By name, so that a suite is drawn alike whatever is measured beside it.
        w_BU = stats.weights(len(counts_U), sum(name.encode()), draws)
        drawn_BKS[:, :, s] = (w_BU @ sums_KU.T) / (w_BU @ counts_U)[:, None]
    return Table(suites=suites, score_KS=score_KS, drawn_BKS=drawn_BKS)


def units(values: Sequence[float] | Floats, size: int) -> Floats:
    """Sums of ``size`` neighbours; the last unit may have fewer."""
    summed: Floats = np.add.reduceat(np.asarray(values, dtype=np.float64), np.arange(0, len(values), size))
    return summed


def interval(value: float, drawn_B: Floats) -> Estimate:
    """The percentile bootstrap interval of a value."""
    lo, hi = np.percentile(drawn_B, [2.5, 97.5])
    return Estimate(value, float(lo), float(hi))


def over_seeds(values: Sequence[float]) -> Estimate | None:
    """Mean over training runs with Student's 95 % interval; None for a single run. Raises InputError above ten."""
    if len(values) < 2:
        return None
    if len(values) > len(STUDENT) + 1:
        raise InputError(f"{len(values)} seeds are more than are compared; give {len(STUDENT) + 1} at most.")
    mean, half = float(np.mean(values)), STUDENT[len(values) - 2] * float(np.std(values, ddof=1)) / sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)
