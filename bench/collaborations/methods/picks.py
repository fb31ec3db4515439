"""What all collaborations of recorded agents have in common: fitted on one board, they pick on another, blind."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aiflow.bench.collaborations.board import Board, Ints
from aiflow.bench.stats import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Picks:
    """Whose answer counts for each question, ``who_Q``, and who had to answer for that, ``asked_MQ``."""

    who_Q: Ints
    asked_MQ: NDArray[np.bool_]

    def cost(self, board: Board) -> float | None:
        """The mean price of a question; None where a price of someone asked is unknown."""
        if np.isnan(np.array(board.costs_M)[self.asked_MQ.any(axis=1)]).any():
            return None
        return float((self.asked_MQ * np.nan_to_num(np.array(board.costs_M))[:, None]).sum(axis=0).mean())


class Fitted(Protocol):
    """A collaboration that knows its development half."""

    def pick(self, board: Board) -> Picks:
        """Picks from questions and answers only; the board's scores are not looked at."""


class Method(Protocol):
    """A way to collaborate. ``name`` says it in a few words, with its settings."""

    @property
    def name(self) -> str:
        """Unique among the methods that are tried on a board."""

    def fit(self, board: Board) -> Fitted:
        """Learns from a board with scores."""


def everyone(board: Board, who_Q: Ints) -> Picks:
    """Picks for which all members had to answer."""
    return Picks(who_Q=who_Q, asked_MQ=np.ones((len(board.members), len(board.ids)), dtype=np.bool_))


def chosen_only(board: Board, who_Q: Ints) -> Picks:
    """Picks for which only the chosen member had to answer."""
    return Picks(who_Q=who_Q, asked_MQ=np.arange(len(board.members))[:, None] == who_Q)


def accuracies(board: Board) -> Floats:
    """The score of each member alone as a share of the best possible, ``a_M`` in 0..1."""
    alone = [board.score(board.alone(m)) / board.best for m in range(len(board.members))]
    return np.array(alone, dtype=np.float64)


def by_category(board: Board, prior: float) -> dict[str, Floats]:
    """``a_M`` for each category, shrunk towards that of all questions as if ``prior`` units had had that."""
    overall_M = accuracies(board)
    found = [board.worth(board.alone(m)) for m in range(len(board.members))]
    v_MU, w_MU = np.array([v for v, _ in found]), np.array([w for _, w in found])
    kinds_U = np.empty(v_MU.shape[1], dtype=object)
    kinds_U[board.units] = board.categories
    names, place_U, units_K = np.unique(kinds_U.astype(str), return_inverse=True, return_counts=True)
    won_MK, of_MK = (
        np.array([np.bincount(place_U, row, minlength=names.size) for row in rows]) for rows in (v_MU * w_MU, w_MU)
    )
    a_MK = (units_K * won_MK / np.maximum(of_MK, 1e-12) + prior * overall_M[:, None]) / (units_K + prior)
    return {str(name): a_MK[:, k] for k, name in enumerate(names)}


def elect(support_MQ: Floats, board: Board, order_M: Floats) -> Ints:
    """For each question the vote with the most support; who of its voters has the highest ``order_M`` is picked.

    An empty vote gets no support, unless nobody voted. Ties go to the vote that the foremost member supports.
    """
    who_Q = np.zeros(len(board.ids), dtype=np.intp)
    for q in range(len(board.ids)):
        sums: dict[str, float] = {}
        for vote, support in zip(board.votes_MQ[:, q], support_MQ[:, q], strict=True):
            if vote:
                sums[vote] = sums.get(vote, 0.0) + support
        most = max(sums.values(), default=0.0)
        leading = [
            m for m, vote in enumerate(board.votes_MQ[:, q]) if not sums or sums.get(vote, -np.inf) >= most - 1e-9
        ]
        who_Q[q] = max(leading, key=lambda m: order_M[m])
    return who_Q
