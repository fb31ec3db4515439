"""AlpacaEval's own figures: who is shown first, the judge's probabilities as a preference, the win rate. Pure.

Legend: N the judged rows of one model. A preference lies in 1..2: 1 the baseline wins, 2 the model wins, 1.5 a draw.
Knows nothing of lengths; those are ``length_control``'s.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aiflow.errors import DataError

Floats = NDArray[np.float64]
DRAW = 1.5
SLACK = 1e-6  # recorded preferences are rounded


def switched(instruction: str) -> bool:
    """Whether the judge is shown the model's output first ("m"), and the baseline's second ("M").

    Drawn with the seed that AlpacaEval makes of the instruction, so it is the same in every run.
    """
    return random.Random(f"is_switched_outputs{instruction}0").choices([False, True], k=1)[0]


def preference(lp_m: float | None, lp_M: float | None, turned: bool) -> float | None:
    """The preference for the model, 1..2, from the log probabilities of the tokens "m" and "M".

    ``turned``: whether the model's output was shown first. None for a token: it is not among the likeliest, so that
    its probability counts as 0. Without both tokens, or with NaN, nothing can be said: None.
    """
    m, M = (-math.inf if value is None else value for value in (lp_m, lp_M))
    if math.isnan(m) or math.isnan(M) or math.inf in (m, M) or m == M == -math.inf:
        return None
    first = math.exp(m - max(m, M)) / (math.exp(m - max(m, M)) + math.exp(M - max(m, M)))
    return 1 + first if turned else 2 - first


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """The leaderboard's figures, percentages where it has them; NaN where nothing was judged.

    ``n_unparsed``: rows whose judgment could not be read, which count nowhere else.
    """

    win_rate: float
    standard_error: float
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    discrete_win_rate: float
    n_unparsed: int = field(default=0)


def wins(preferences: Sequence[float | None] | Floats, where: str = "preferences") -> Floats:
    """``y_N`` in 0..1, how far the model wins; NaN where there is no preference. A preference of 0 is a draw.

    Raises DataError for a number that is no preference.
    """
    p_N = np.array([math.nan if p is None else p for p in preferences], dtype=np.float64)
    p_N[p_N == 0] = DRAW
    wrong = np.flatnonzero(~np.isnan(p_N) & ~((p_N >= 1 - SLACK) & (p_N <= 2 + SLACK)))
    if wrong.size:
        raise DataError(f"{where}: row {wrong[0]} holds {p_N[wrong[0]]}; a preference is 1..2, 0 (a draw) or null.")
    y_N: Floats = np.clip(p_N - 1, 0, 1)
    return y_N


def win_rate(preferences: Sequence[float | None] | Floats, where: str = "preferences") -> WinRate:
    """The win rate of preferences; None and NaN are counted apart. Raises DataError as ``wins`` does."""
    y_N = wins(preferences, where)
    known = y_N[~np.isnan(y_N)]
    won, lost, total = int((known > 0.5).sum()), int((known < 0.5).sum()), int(known.size)
    return WinRate(
        win_rate=100 * mean(known),
        standard_error=100 * sem(known),
        n_wins=won,
        n_wins_base=lost,
        n_draws=total - won - lost,
        n_total=total,
        discrete_win_rate=100 * (won + 0.5 * (total - won - lost)) / total if total else math.nan,
        n_unparsed=int(y_N.size) - total,
    )


def mean(values: Floats) -> float:
    """The mean; NaN of nothing."""
    return float(values.mean()) if values.size else math.nan


def sem(values: Floats) -> float:
    """The standard error of the mean (ddof 1); NaN below two values."""
    return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan
