"""AlpacaEval's preferences and win rates: by hand, and by their symmetries."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.bench.suites.alpaca_eval.score import preference, win_rate
from aiflow.errors import DataError

logarithms = st.floats(min_value=-60, max_value=0)


@given(logarithms, logarithms, st.booleans())
def test_a_preference_mirrors_when_outputs_or_tokens_swap(m: float, M: float, turned: bool) -> None:
    found = preference(m, M, turned)
    assert found is not None
    assert 1 <= found <= 2
    assert preference(m, M, not turned) == pytest.approx(3 - found)
    assert preference(M, m, turned) == pytest.approx(3 - found)


def test_missing_and_impossible_probabilities() -> None:
    assert preference(None, -0.1, False) == 2
    assert preference(-0.1, None, False) == 1
    assert preference(-0.1, None, True) == 2
    assert preference(math.log(0.6), math.log(0.2), False) == pytest.approx(1.25)
    assert preference(-1e4, -1e4 - math.log(3), False) == pytest.approx(1.25)
    for m, M in ((None, None), (math.nan, -0.1), (-0.1, math.nan), (-math.inf, None), (math.inf, 0.0)):
        assert preference(m, M, False) is None


def test_a_win_rate_by_hand() -> None:
    found = win_rate([2, 1, 1.5, 0, 1.75, None, math.nan])
    assert (found.n_wins, found.n_wins_base, found.n_draws, found.n_total, found.n_unparsed) == (2, 1, 2, 5, 2)
    assert found.win_rate == pytest.approx(55)
    assert found.discrete_win_rate == pytest.approx(60)
    assert found.standard_error == pytest.approx(100 * np.std([1, 0, 0.5, 0.5, 0.75], ddof=1) / math.sqrt(5))
    assert math.isnan(win_rate([None]).win_rate)


@given(st.lists(st.floats(min_value=1, max_value=2), min_size=2, max_size=30))
def test_a_win_rate_mirrors_when_the_sides_swap(preferences: list[float]) -> None:
    one, other = win_rate(preferences), win_rate([3 - p for p in preferences])
    assert one.win_rate + other.win_rate == pytest.approx(100)
    assert one.standard_error == pytest.approx(other.standard_error, abs=1e-9)
    assert one.n_total == one.n_wins + one.n_wins_base + one.n_draws


@pytest.mark.parametrize("wrong", [0.5, 2.7, -1.0, math.inf])
def test_what_is_no_preference_is_named(wrong: float) -> None:
    with pytest.raises(DataError, match="gemma: row 1"):
        win_rate([1.2, wrong], "gemma")
