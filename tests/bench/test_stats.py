"""Bootstrap intervals against what theory gives."""

import numpy as np
import pytest

from aiflow.bench import stats


def test_the_interval_of_a_share_is_the_normal_one() -> None:
    scores = np.repeat([100.0, 0.0], [240, 80])
    found = stats.mean(scores)
    half = 1.96 * 100 * np.sqrt(0.75 * 0.25 / 320)
    assert found.value == 75.0
    assert found.lo == pytest.approx(75 - half, abs=0.4)
    assert found.hi == pytest.approx(75 + half, abs=0.4)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    found = [stats.mean(rng.normal(5.0, 2.0, 60), draws=1000) for _ in range(400)]
    covered = np.mean([e.lo <= 5.0 <= e.hi for e in found])
    assert 0.90 <= covered <= 0.98


def test_estimates_repeat_with_the_seed() -> None:
    scores = np.random.default_rng(0).random(50)
    assert stats.mean(scores, seed=3) == stats.mean(scores, seed=3)
    assert stats.mean(scores, seed=3) != stats.mean(scores, seed=4)


def test_differences_are_paired() -> None:
    easy = np.random.default_rng(0).random(100) * 100
    found = stats.difference(easy + 5, easy)
    assert (found.value, found.lo, found.hi) == pytest.approx((5.0, 5.0, 5.0))


def test_no_difference_without_the_same_questions() -> None:
    with pytest.raises(ValueError, match="same questions"):
        stats.difference([1.0, 2.0], [1.0])


def test_a_constant_has_no_spread_and_nothing_has_no_mean() -> None:
    assert stats.mean([7.0] * 9).ci == [7.0, 7.0]
    with pytest.raises(ValueError, match="one score per question"):
        stats.mean([])


def test_percentiles() -> None:
    assert stats.percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.5
    assert stats.percentile([], 50) == 0.0
