"""Bootstrap intervals against what theory gives."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.bench import stats

SCORES = st.lists(st.sampled_from([0.0, 25.0, 50.0, 100.0]), min_size=2, max_size=40)


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


@given(SCORES)
def test_intervals_are_those_of_drawing_questions(scores: list[float]) -> None:
    fast, slow = stats.means(np.array(scores)), stats.weights(len(scores)) @ np.array(scores)
    assert fast.mean() == pytest.approx(slow.mean(), abs=1.5)
    assert fast.std() == pytest.approx(slow.std(), rel=0.06, abs=0.1)
    assert fast.std() == pytest.approx(np.std(scores) / len(scores) ** 0.5, rel=0.06, abs=0.1)


@given(SCORES)
def test_the_other_way_round_is_the_other_sign(scores: list[float]) -> None:
    there, back = stats.means(np.array(scores)), stats.means(-np.array(scores))
    assert there.mean() == pytest.approx(-back.mean(), abs=3)
    assert stats.sign_flip(scores) == pytest.approx(stats.sign_flip([-s for s in scores]), abs=0.05)


def test_the_p_value_is_twice_the_tail() -> None:
    changes = [1.0] * 26 + [-1.0] * 14 + [0.0] * 9
    tail = sum(math.comb(40, wins) for wins in range(15)) / 2**40
    assert stats.sign_flip(changes) == pytest.approx(2 * tail, rel=0.1)
    assert stats.sign_flip([5.0]) == 1.0
    assert stats.sign_flip([5.0, 3.0, 4.0]) == pytest.approx(0.25, abs=0.02)
    assert stats.sign_flip([1.0] * 30) == 1 / (stats.DRAWS + 1)
    assert stats.sign_flip([1.0] * 30, groups=[0] * 30) == 1.0


def test_groups_are_drawn_together() -> None:
    scores = [100.0 * (n % 2) for n in range(40) for _ in range(5)]
    alone = stats.mean(scores)
    together = stats.mean(scores, groups=[n // 5 for n in range(200)])
    assert (together.hi - together.lo) / (alone.hi - alone.lo) == pytest.approx(5**0.5, rel=0.1)


def test_uneven_groups_keep_the_mean() -> None:
    scores, groups = [100.0, 100.0, 100.0, 0.0], ["a", "a", "a", "b"]
    drawn = stats.means(np.array(scores), groups=groups)
    assert stats.mean(scores, groups=groups).value == 75.0
    assert sorted(set(np.round(drawn, 6))) == [0.0, 75.0, 100.0]


def test_many_distinct_values_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = list(np.random.default_rng(0).normal(size=300))
    whole = stats.mean(scores)
    monkeypatch.setattr(stats, "BLOCK", 300 * 700)
    parts = stats.mean(scores)
    assert parts.lo == pytest.approx(whole.lo, abs=0.02)
    assert replace(parts, lo=0, hi=0) == replace(whole, lo=0, hi=0)
    with pytest.raises(ValueError, match="one score per question"):
        stats.mean([])
