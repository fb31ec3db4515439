"""Logistic regression on sets of hashed tokens, with shares of 0..1 as labels. Knows nothing of boards."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiflow.bench.stats import Floats

RARE = 3
"""A token of fewer rows is left out."""


@dataclass(frozen=True, eq=False)
class Linear:
    """Weights ``w_F`` of the tokens ``codes_F`` (sorted) and a bias; an unknown token weighs nothing."""

    codes_F: NDArray[np.int64]
    w_F: Floats
    bias: float

    def value(self, rows: Sequence[NDArray[np.int64]]) -> Floats:
        """The log-odds of each row of tokens."""
        owner, codes = _flat(rows)
        if not self.codes_F.size or not codes.size:
            return np.full(len(rows), self.bias)
        place = np.minimum(np.searchsorted(self.codes_F, codes), self.codes_F.size - 1)
        weight = np.where(self.codes_F[place] == codes, self.w_F[place], 0.0)
        found: Floats = (self.bias + np.bincount(owner, weight, minlength=len(rows))).astype(np.float64)
        return found


def fit(rows: Sequence[NDArray[np.int64]], share: Floats, weight: Floats, c: float) -> Linear:
    """Each row counts as right by its ``share`` and as wrong by the rest, times its ``weight``; L2 penalty 1/``c``.

    Where there is nothing to learn (one outcome only, no token often enough) all rows weigh the same, 0.
    """
    from scipy.sparse import csr_matrix, vstack
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([weight * share, weight * (1 - share)])
    kept = both > 0
    label = np.repeat([1, 0], len(share))[kept]
    owner, codes = _flat(rows)
    known_F, counts_F = np.unique(codes, return_counts=True)
    known_F = known_F[counts_F >= RARE]
    if not known_F.size or np.unique(label).size < 2:
        return Linear(np.empty(0, np.int64), np.empty(0), 0.0)
    place = np.minimum(np.searchsorted(known_F, codes), known_F.size - 1)
    hit = known_F[place] == codes
    x = csr_matrix((np.ones(hit.sum()), (owner[hit], place[hit])), shape=(len(rows), known_F.size))
    model = LogisticRegression(C=c, solver="liblinear", random_state=0)
    model.fit(vstack([x, x]).tocsr()[kept], label, sample_weight=both[kept])
    return Linear(known_F, model.coef_[0], float(model.intercept_[0]))


def _flat(rows: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    owner = np.repeat(np.arange(len(rows)), [row.size for row in rows])
    return owner, np.concatenate(rows) if rows else np.empty(0, np.int64)
