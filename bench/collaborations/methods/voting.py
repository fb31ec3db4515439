"""Votes: all members answer; the answer with the most support wins.

Needs comparable answers (``votes_MQ``). Which of several members with the winning vote is picked matters only where
their texts differ in worth; the best of them on the development half is.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aiflow.bench.collaborations.board import Board
from aiflow.bench.collaborations.methods.picks import Picks, accuracies, by_category, elect, everyone
from aiflow.bench.stats import Floats

Weights = Literal["equal", "accuracy", "log-odds"]


@dataclass(frozen=True)
class Vote:
    """Plurality; or every vote counts by its member's accuracy or log-odds, per category with ``prior`` units of all.

    ``log-odds`` is naive Bayes with independent members, log(a / ((1 - a) c)) of a member that is right with
    probability a, where two wrong members agree with probability c.
    """

    weights: Weights = "equal"
    prior: float = np.inf

    @property
    def name(self) -> str:
        """With its setting."""
        by = "" if np.isinf(self.prior) else f" per category (prior {self.prior:g})"
        return "plurality" if self.weights == "equal" else f"vote by {self.weights}{by}"

    def fit(self, board: Board) -> "Electorate":
        """Accuracies per member, and per category where those are used."""
        shares = by_category(board, self.prior) if np.isfinite(self.prior) else {}
        return Electorate(self.weights, accuracies(board), shares, _coincidence(board))


@dataclass(frozen=True, eq=False)
class Electorate:
    """Members' accuracies ``overall_M``, and by category; how often two wrong members agree."""

    weights: Weights
    overall_M: Floats
    shares: dict[str, Floats]
    coincidence: float

    def pick(self, board: Board) -> Picks:
        """The vote with the most support."""
        support = {kind: self._support(a_M) for kind, a_M in self.shares.items()}
        usual = self._support(self.overall_M)
        support_MQ = np.stack([support.get(kind, usual) for kind in board.categories], axis=1)
        return everyone(board, elect(support_MQ, board, self.overall_M))

    def _support(self, a_M: Floats) -> Floats:
        if self.weights == "equal":
            return np.ones_like(a_M)
        if self.weights == "accuracy":
            return a_M
        a = np.clip(a_M, 0.02, 0.98)
        odds_M: Floats = np.maximum(np.log(a / (1 - a) / self.coincidence), 0.01)
        return odds_M


def _coincidence(board: Board) -> float:
    """How often two members with wrong answers give the same one, 0.02..1."""
    wrong_MQ = (board.s_MQ < 0.5) & (board.votes_MQ != "")
    same = both = 0
    for a in range(len(board.members)):
        for b in range(a):
            wrong_Q = wrong_MQ[a] & wrong_MQ[b]
            both += int(wrong_Q.sum())
            same += int((wrong_Q & (board.votes_MQ[a] == board.votes_MQ[b])).sum())
    return float(np.clip((same + 1) / (both + 2), 0.02, 1.0))
