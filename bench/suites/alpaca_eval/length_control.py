"""The length-controlled win rate: what the win rate were if both outputs were equally long, by a logistic regression.

Source: AlpacaEval, ``length_controlled_v1``. Features of a row: tanh of the standardised difference of lengths, the
difficulty of the instruction, and whether the row is the model's own. Its 805 rows are fitted together with 1,610 rows
of the baseline told to be verbose or concise ("gamed"), which tie down the effect of length. Pure.

Legend: N rows of the model, G gamed rows, R = G + N, three features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from aiflow.bench.suites.alpaca_eval.score import Floats, mean, sem, wins
from aiflow.errors import DataError

FOLDS, SEED = 5, 123
GAMED_WEIGHT = 0.2 / 2  # of each of the two gamed models' rows


@dataclass(frozen=True, kw_only=True)
class Gamed:
    """Rows of the gamed baselines: features ``x_G3`` and how far they win, ``y_G`` in 0..1."""

    x_G3: Floats = field(repr=False)
    y_G: Floats = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Of the length difference, the difficulty, and the model itself; all 0 for the baseline."""

    length: float
    difficulty: float
    model: float


@dataclass(frozen=True, kw_only=True)
class LengthControlled:
    """The figures, in percent, with the regularisation ``C`` that was chosen and the coefficients."""

    length_controlled_winrate: float
    lc_standard_error: float
    C: float
    coefficients: Coefficients


def grid() -> Floats:
    """The ten values of C that are tried."""
    return np.logspace(-4, 4, 10)


def length_controlled(
    preferences: Sequence[float | None] | Floats,
    lengths_model: Sequence[float] | Floats,
    lengths_baseline: Sequence[float] | Floats,
    difficulty: Sequence[float] | Floats,
    gamed: Gamed | None,
    C: float | None = None,
) -> LengthControlled:
    """Fits one model's rows: preferences 1..2 (None, NaN: unread), characters of both outputs, difficulty; all of N.

    ``gamed`` None is the unregularised variant, which differs by about a point: not what is published. ``C`` None:
    chosen by cross-validation. A row without a preference is not fitted, but predicted.

    Raises DataError where lengths disagree, are unknown, or all differ by the same, which leaves nothing to control.
    """
    y_N = wins(preferences)
    x_N3 = _features(y_N, lengths_model, lengths_baseline, difficulty)
    known = ~np.isnan(y_N)
    x_R3, y_R, weight_R = x_N3[known], y_N[known], np.ones(int(known.sum()))
    if gamed is not None:
        x_R3, y_R = np.concatenate([gamed.x_G3, x_R3]), np.concatenate([gamed.y_G, y_R])
        weight_R = np.concatenate([np.full(gamed.y_G.size, GAMED_WEIGHT), weight_R])
    best = _choose(x_R3, y_R, weight_R) if C is None else C
    length, hard, own = (float(b) for b in fit(x_R3, y_R, weight_R, best))
    found = Coefficients(length=length, difficulty=hard, model=own)
    p_N = predicted(found, x_N3[:, 1])
    return LengthControlled(
        length_controlled_winrate=100 * mean(p_N), lc_standard_error=100 * sem(p_N), C=best, coefficients=found
    )


def predicted(of: Coefficients, difficulty: Sequence[float] | Floats) -> Floats:
    """``p_N``: the probability that the model wins each instruction at equal length."""
    return _sigmoid(of.difficulty * np.asarray(difficulty, dtype=np.float64) + of.model)


def from_coefficients(of: Coefficients, difficulty: Sequence[float] | Floats) -> float:
    """The length-controlled win rate, in percent, that published coefficients give."""
    return 100 * mean(predicted(of, difficulty))


def predict_winrate(model: Coefficients, baseline: Coefficients, difficulty: Sequence[float] | Floats) -> float:
    """How often, in percent, ``model`` wins against ``baseline`` at equal length, though they were never compared."""
    between = Coefficients(
        length=model.length - baseline.length,
        difficulty=model.difficulty - baseline.difficulty,
        model=model.model - baseline.model,
    )
    return from_coefficients(between, difficulty)


def fit(x_R3: Floats, y_R: Floats, weight_R: Floats, C: float) -> Floats:
    """``b_3`` of the weighted logistic regression on probabilities ``y_R``, with an L1 penalty and no intercept.

    Each row stands there twice, as a win with the weight ``y`` and as a loss with ``1 - y``. By liblinear with
    its default tolerance, as published: an exact minimum differs in the fourth digit.
    """
    import sklearn
    from sklearn.linear_model import LogisticRegression

    modern = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 8)
    penalty = {"l1_ratio": 1.0} if modern else {"penalty": "l1"}
    model = LogisticRegression(C=C, solver="liblinear", fit_intercept=False, random_state=SEED, **penalty)
    labels, weights = np.repeat([1, 0], y_R.size), np.concatenate([weight_R * y_R, weight_R * (1 - y_R)])
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):  # checks cost half the time
        model.fit(np.concatenate([x_R3, x_R3]), labels, sample_weight=weights)
    b_3: Floats = model.coef_[0]
    return b_3


def _choose(x_R3: Floats, y_R: Floats, weight_R: Floats) -> float:
    """The C with the least weighted log loss, averaged over held-out folds; rows are dealt out to folds in turn.

    So does scikit-learn's GroupKFold where no group is larger than another.
    """
    Cs, fold_R = grid(), np.arange(y_R.size) % FOLDS
    loss_FC = np.zeros((FOLDS, Cs.size))
    for number in range(FOLDS):
        held = fold_R == number
        for column, C in enumerate(Cs):
            b_3 = fit(x_R3[~held], y_R[~held], weight_R[~held], float(C))
            loss_FC[number, column] = _loss(x_R3[held] @ b_3, y_R[held], weight_R[held])
    return float(Cs[loss_FC.mean(axis=0).argmin()])


def _loss(score_R: Floats, y_R: Floats, weight_R: Floats) -> float:
    """Weighted log loss per row (the weights are not normalised)."""
    p_R = np.clip(_sigmoid(score_R), 1e-15, 1 - 1e-15)
    return float(-np.mean(weight_R * (y_R * np.log(p_R) + (1 - y_R) * np.log(1 - p_R))))


def _sigmoid(score: Floats) -> Floats:
    p: Floats = np.exp(-np.logaddexp(0, -score))
    return p


def _features(
    y_N: Floats,
    lengths_model: Sequence[float] | Floats,
    lengths_baseline: Sequence[float] | Floats,
    difficulty: Sequence[float] | Floats,
) -> Floats:
    own, base, hard = (np.asarray(v, dtype=np.float64) for v in (lengths_model, lengths_baseline, difficulty))
    if not y_N.shape == own.shape == base.shape == hard.shape:
        sizes = f"{y_N.size} preferences, {own.size} and {base.size} lengths, {hard.size} difficulties"
        raise DataError(f"length control needs one of each per row, got {sizes}.")
    if not np.isfinite(own + base + hard).all():
        row = int(np.flatnonzero(~np.isfinite(own + base + hard))[0])
        raise DataError(f"length control needs both lengths and the difficulty of every row; row {row} lacks one.")
    if np.isnan(y_N).all():
        raise DataError("length control needs preferences, and no judgment could be read.")
    spread = float((base - own).std(ddof=1)) if own.size > 1 else math.nan
    if not spread > 0:
        raise DataError("length control needs outputs whose lengths differ from the baseline's, each by its own.")
    return np.column_stack([np.tanh((base - own) / spread), hard, np.ones(own.size)])
