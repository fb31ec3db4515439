"""Paired tests on known cases, against exact values, and where nothing is to be found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.bench.stats import holm, mcnemar, sign_flip


def test_mcnemar_is_the_exact_binomial() -> None:
    won, lost, p = mcnemar(np.array([1.0] * 8 + [-1.0] * 2 + [0.0] * 50))
    assert (won, lost) == (8, 2)
    assert p == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar(np.zeros(5))[2] == 1.0
    assert mcnemar(np.array([1.0, -1.0]))[2] == 1.0


@pytest.mark.parametrize(("won", "lost"), [(8, 2), (30, 12), (60, 60)])
def test_sign_flips_of_wins_and_losses_agree_with_mcnemar(won: int, lost: int) -> None:
    d = np.array([1.0] * won + [-1.0] * lost + [0.0] * 40)
    assert sign_flip(d, draws=40_000) == pytest.approx(mcnemar(d)[2], abs=0.01)


def test_equal_subjects_differ_in_five_percent_of_all_runs() -> None:
    rng = np.random.default_rng(1)
    p = [sign_flip(rng.normal(size=60), seed=n, draws=999) for n in range(400)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.085
    binary = [sign_flip(rng.integers(-1, 2, 200).astype(float), seed=n, draws=999) for n in range(400)]
    assert np.mean(np.array(binary) < 0.05) < 0.08


def test_a_real_difference_is_found() -> None:
    d = np.random.default_rng(2).normal(0.5, 1, size=200)
    assert sign_flip(d) < 0.001


def test_holm_on_the_textbook_case() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_only_raises_and_keeps_the_order(p: list[float]) -> None:
    found = holm(p)
    assert all(a >= b or a == 1.0 for a, b in zip(found, p, strict=True))
    order = np.argsort(p, kind="stable")
    assert all(np.diff(np.array(found)[order]) >= 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=40))
def test_p_values_do_not_depend_on_who_is_first(d: list[float]) -> None:
    there, back = sign_flip(np.array(d), draws=500), sign_flip(-np.array(d), draws=500)
    assert there == back
    assert 0 < there <= 1


def test_unknown_units_are_refused() -> None:
    with pytest.raises(ValueError, match="known difference"):
        sign_flip(np.array([1.0, np.nan]))
