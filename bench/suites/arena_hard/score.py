"""Arena-Hard's published figures: Bradley-Terry ratings of battles, win rates against a baseline, bootstrap intervals.

Pure numpy, no files. Source: arena-hard-auto's ``show_result.py`` (v0.1 and v2).

Legend: N battles (rows, weights already applied), M models, C cells (who met whom and how it ended), B bootstrap
rounds. ``wins_BMM[b, i, j]``: how often i beat j, a tie being half a win for each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Winner = Literal["model_a", "model_b", "tie"]

DRAWS = 10_000
SEED = 0
ROUNDS, ROUNDS_SEED = 100, 42
"""The published procedure: 100 rounds, numpy's legacy generator with this seed, all rows of the file at once."""
_SHARES: dict[Winner, float] = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}
_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Battle:
    """One row: two models, and who won. A game that counts for three is three rows."""

    question: str
    model_a: str
    model_b: str
    winner: Winner


@dataclass(frozen=True, kw_only=True)
class Table:
    """All battles, counted by cell."""

    models: tuple[str, ...]
    a_C: Ints
    b_C: Ints
    share_C: Floats  # of model a: 1, 0.5 or 0
    cell_N: Ints

    @classmethod
    def of(cls, battles: Sequence[Battle]) -> "Table":
        """Counts battles. Raises ValueError without any."""
        if not battles:
            raise ValueError("no battles, no ratings.")
        models = tuple(dict.fromkeys(name for battle in battles for name in (battle.model_a, battle.model_b)))
        index = {name: n for n, name in enumerate(models)}
        rows = [(index[b.model_a], index[b.model_b], _SHARES[b.winner]) for b in battles]
        cells = {row: n for n, row in enumerate(dict.fromkeys(rows))}
        a, b, share = (np.array(column) for column in zip(*cells, strict=True))
        cell_N = np.array([cells[row] for row in rows])
        return cls(models=models, a_C=a, b_C=b, share_C=share.astype(float), cell_N=cell_N)

    @property
    def counts(self) -> Floats:
        """How many battles each cell holds, ``counts_C``."""
        return np.bincount(self.cell_N, minlength=self.a_C.size).astype(float)

    def wins(self, counts_BC: Floats) -> Floats:
        """``wins_BMM`` of so many battles in each cell."""
        wins_BMM = np.zeros((len(counts_BC), len(self.models), len(self.models)))
        for cell, (a, b, share) in enumerate(zip(self.a_C, self.b_C, self.share_C, strict=True)):
            wins_BMM[:, a, b] += share * counts_BC[:, cell]
            wins_BMM[:, b, a] += (1 - share) * counts_BC[:, cell]
        return wins_BMM

    def resampled(self, draws: int, seed: int) -> Iterator[Floats]:
        """``counts_BC`` of bootstrap rounds, each of N battles drawn with replacement, in chunks."""
        rng, counts_C = np.random.default_rng(seed), self.counts
        for start in range(0, draws, _CHUNK):
            size = min(_CHUNK, draws - start)
            yield rng.multinomial(self.cell_N.size, counts_C / counts_C.sum(), size=size).astype(float)

    def published_rounds(self) -> Iterator[Floats]:
        """``counts_BC`` of exactly the rounds that the published script draws from these rows in this order."""
        rng, n = np.random.RandomState(ROUNDS_SEED), self.cell_N.size
        rows = [np.bincount(self.cell_N[rng.randint(0, n, n)], minlength=self.a_C.size) for _ in range(ROUNDS)]
        yield np.array(rows, dtype=float)


def bradley_terry(wins_BMM: Floats, anchor: int) -> Floats:
    """Log-odds ``r_BM`` of largest likelihood, 0 for the ``anchor``: P(i beats j) = sigmoid(r_i - r_j), no penalty.

    By Newton's method with bounded steps. A model that only wins or only loses gets a rating whose win rate is 1 or 0
    to within 1e-9; one that no chain of battles joins to the anchor gets NaN.
    """
    n_BMM = wins_BMM + wins_BMM.transpose(0, 2, 1)
    rounds, count = wins_BMM.shape[:2]
    own = np.arange(count)
    free = np.delete(own, anchor)
    r_BM = np.zeros((rounds, count))
    for _ in range(200):
        p_BMM = _sigmoid(r_BM[:, :, None] - r_BM[:, None, :])
        slope_BM = (wins_BMM - n_BMM * p_BMM).sum(axis=2)[:, free]
        if np.abs(slope_BM).max(initial=0.0) < 1e-11 * max(n_BMM.max(), 1.0):
            break
        curve_BMM = n_BMM * p_BMM * (1 - p_BMM)
        hessian_BMM = -curve_BMM
        hessian_BMM[:, own, own] += curve_BMM.sum(axis=2) + 1e-12  # the bit keeps unjoined models solvable
        step_BM = np.linalg.solve(hessian_BMM[:, free[:, None], free], slope_BM[..., None])[..., 0]
        r_BM[:, free] += np.clip(step_BM, -2.0, 2.0)
    joined_BM = _joined(n_BMM > 0, anchor)
    return np.where(joined_BM, r_BM, np.nan)


def win_rates(table: Table, counts_BC: Floats, baseline: str) -> Floats:
    """Win rates in % against the ``baseline``, ``rate_BM``, by Bradley-Terry; NaN where they are not determined.

    Where every battle is against the baseline the model has a solution in closed form, which is used.
    """
    anchor = table.models.index(baseline)
    wins_BMM = table.wins(counts_BC)
    if np.all((table.a_C == anchor) | (table.b_C == anchor)):
        won_BM, lost_BM = wins_BMM[:, :, anchor], wins_BMM[:, anchor, :]
        met_BM = won_BM + lost_BM
        rate_BM = np.divide(won_BM, met_BM, out=np.full_like(met_BM, np.nan), where=met_BM > 0)
        rate_BM[:, anchor] = 0.5
        return 100.0 * rate_BM
    rates: Floats = 100.0 * _sigmoid(bradley_terry(wins_BMM, anchor))
    return rates


def interval(rates_BM: Floats, tail: float) -> Floats:
    """The ``tail`` and 100 - ``tail`` percentiles over the rounds, ``ci_2M``; NaN where no round has a rate."""
    with np.errstate(all="ignore"):
        known_M = ~np.isnan(rates_BM).all(axis=0)
        ci_2M = np.full((2, rates_BM.shape[1]), np.nan)
        ci_2M[:, known_M] = np.nanpercentile(rates_BM[:, known_M], [tail, 100.0 - tail], axis=0)
    return ci_2M


def means(scores_N: Sequence[float], tail: float = 5.0, draws: int = DRAWS, seed: int = SEED) -> tuple[float, Floats]:
    """v2: the mean of exploded scores (0, .5, 1) in % and its bootstrap interval ``ci_2`` over the rows."""
    values, counts = np.unique(np.asarray(scores_N, dtype=float), return_counts=True)
    drawn_BC = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=draws)
    mean_B = 100.0 * drawn_BC @ values / counts.sum()
    return float(100.0 * values @ counts / counts.sum()), np.percentile(mean_B, [tail, 100.0 - tail])


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _joined(met_BMM: NDArray[np.bool_], anchor: int) -> NDArray[np.bool_]:
    reach_BM = np.zeros(met_BMM.shape[:2], dtype=bool)
    reach_BM[:, anchor] = True
    for _ in range(met_BMM.shape[1]):
        wider_BM = reach_BM | (met_BMM & reach_BM[:, :, None]).any(axis=1)
        if np.array_equal(wider_BM, reach_BM):
            break
        reach_BM = wider_BM
    return reach_BM
