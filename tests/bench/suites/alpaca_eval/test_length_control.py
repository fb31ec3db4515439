"""The length-controlled win rate: against scikit-learn's own cross-validation, and by its properties."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.bench.suites.alpaca_eval import length_controlled
from aiflow.bench.suites.alpaca_eval.length_control import Coefficients, Gamed, from_coefficients, predict_winrate
from aiflow.bench.suites.alpaca_eval.score import win_rate
from aiflow.errors import DataError


def _rows(count: int, seed: int = 3) -> tuple[list[float], list[float], list[float], list[float], Gamed]:
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=count)
    own, base = rng.integers(50, 3000, count).astype(float), rng.integers(50, 3000, count).astype(float)
    y = np.clip(1 / (1 + np.exp(-(0.4 * hard - 0.5 + 0.001 * (own - base)))) + rng.normal(0, 0.1, count), 0.001, 0.999)
    x_G3 = np.column_stack([np.tanh(rng.normal(-0.5, 1, 2 * count)), np.tile(hard, 2), np.zeros(2 * count)])
    gamed = Gamed(x_G3=x_G3, y_G=rng.uniform(0.1, 0.9, 2 * count))
    return (1 + y).tolist(), own.tolist(), base.tolist(), hard.tolist(), gamed


def test_the_fit_is_scikit_learns_cross_validated_regression() -> None:
    import sklearn
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import make_scorer
    from sklearn.model_selection import GroupKFold

    preferences, own, base, hard, gamed = _rows(60)
    delta = np.array(base) - np.array(own)
    x = np.column_stack([np.tanh(delta / delta.std(ddof=1)), hard, np.ones(60)])
    x_R3, y_R = np.concatenate([gamed.x_G3, x]), np.concatenate([gamed.y_G, np.array(preferences) - 1])
    weight_R = np.concatenate([np.full(120, 0.1), np.ones(60)])

    def loss(_: Any, p: Any, target: Any, weight: Any) -> float:
        return float(-np.mean(weight * (target * np.log(p) + (1 - target) * np.log(1 - p))))

    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(loss, response_method="predict_proba", greater_is_better=False)
        scorer = scorer.set_score_request(target=True, weight=True)
        theirs = LogisticRegressionCV(
            Cs=10,
            cv=GroupKFold(5),
            scoring=scorer,
            l1_ratios=(1.0,),
            solver="liblinear",
            fit_intercept=False,
            random_state=123,
            use_legacy_attributes=False,
        ).set_fit_request(sample_weight=True)
        theirs.fit(
            np.concatenate([x_R3, x_R3]),
            np.repeat([1, 0], 180),
            sample_weight=np.concatenate([weight_R * y_R, weight_R * (1 - y_R)]),
            groups=np.tile(np.arange(180), 2),
            target=np.tile(y_R, 2),
            weight=np.tile(weight_R, 2),
        )
    ours = length_controlled(preferences, own, base, hard, gamed)
    assert pytest.approx(float(theirs.C_)) == ours.C
    found = [ours.coefficients.length, ours.coefficients.difficulty, ours.coefficients.model]
    assert found == pytest.approx(theirs.coef_[0], abs=1e-6)


def test_length_control_takes_the_advantage_of_length_away() -> None:
    preferences, own, base, hard, gamed = _rows(200)
    longer = [length + 1500 for length in own]
    y = np.clip(np.array(preferences) - 1 + 0.25 * np.tanh((np.array(longer) - base) / 1000), 0.001, 0.999)
    raw, fair = win_rate(1 + y), length_controlled(1 + y, longer, base, hard, gamed)
    assert fair.coefficients.length < 0
    assert fair.length_controlled_winrate < raw.win_rate - 5


def test_a_strong_penalty_makes_coefficients_zero() -> None:
    found = length_controlled(*_rows(60), C=1e-4)
    assert found.coefficients == Coefficients(length=0.0, difficulty=0.0, model=0.0)
    assert found.length_controlled_winrate == 50


def test_rows_without_a_preference_are_predicted_and_not_fitted() -> None:
    preferences, own, base, hard, gamed = _rows(60)
    holes = [None if n < 3 else p for n, p in enumerate(preferences)]
    found = length_controlled(holes, own, base, hard, gamed, C=1.0)
    told = length_controlled(preferences, own, base, hard, gamed, C=1.0)
    assert found.coefficients != told.coefficients
    assert found.length_controlled_winrate == pytest.approx(from_coefficients(found.coefficients, hard))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p, o, b, h: (p[1:], o, b, h), "one of each per row"),
        (lambda p, o, b, h: (p, [math.nan, *o[1:]], b, h), "row 0 lacks one"),
        (lambda p, _, b, h: (p, b, b, h), "lengths differ"),
        (lambda p, o, b, h: ([None] * len(p), o, b, h), "no judgment could be read"),
        (lambda p, o, b, h: (p[:1], o[:1], b[:1], h[:1]), "lengths differ"),
    ],
)
def test_nothing_is_controlled_without_what_it_needs(change: Callable[..., Any], told: str) -> None:
    *rows, gamed = _rows(20)
    with pytest.raises(DataError, match=told):
        length_controlled(*change(*rows), gamed)


numbers = st.floats(min_value=-5, max_value=5)


@given(numbers, numbers, numbers, numbers)
def test_a_predicted_win_rate_mirrors(a: float, b: float, c: float, d: float) -> None:
    one, other = Coefficients(length=-1, difficulty=a, model=b), Coefficients(length=-1.5, difficulty=c, model=d)
    hard = [-1.0, 0.0, 0.3, 2.0]
    assert predict_winrate(one, other, hard) + predict_winrate(other, one, hard) == pytest.approx(100)
    assert predict_winrate(one, one, hard) == 50
    assert predict_winrate(one, Coefficients(length=0, difficulty=0, model=0), hard) == from_coefficients(one, hard)
