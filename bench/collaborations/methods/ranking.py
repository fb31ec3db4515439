"""Learned selection: which of the given answers is worth most, by a linear model of what can be seen of them."""

from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from aiflow.bench.collaborations.board import Board, Ints
from aiflow.bench.collaborations.methods import linear
from aiflow.bench.collaborations.methods.evidence import Candidate, Codes, candidates, codes, contrast, seen, told
from aiflow.bench.collaborations.methods.picks import Picks, accuracies, everyone
from aiflow.bench.stats import Floats


@dataclass(frozen=True)
class Ranker:
    """Logistic regression of a candidate's score on its tokens (with ``text`` also on words); the highest one wins."""

    c: float = 0.1
    text: bool = False

    @property
    def name(self) -> str:
        """With its settings."""
        return f"learned ranking (C {self.c:g}{', words' if self.text else ''})"

    def fit(self, board: Board) -> "RankedAnswers":
        """Learns from all candidates; a score between 0 and 1 counts as partly right, partly wrong."""
        given, s_QM = candidates(board), board.s_MQ.T.tolist()
        worth = np.array([sum(s_QM[one.q][m] for m in one.members) / len(one.members) for one in given])
        known = ~np.isnan(worth)
        rows = [self.codes(board, one) for one, sure in zip(given, known, strict=True) if sure]
        model = linear.fit(rows, worth[known], np.ones(len(rows)), self.c)
        return RankedAnswers(self, model, accuracies(board))

    def codes(self, board: Board, one: Candidate) -> Codes:
        """What is seen of a candidate."""
        key = (board.ids[one.q], one.members)
        if not self.text:
            return codes(board, ("seen", *key), lambda: seen(board, one))
        return codes(board, ("told", *key), lambda: chain(seen(board, one), told(board, one)))


@dataclass(frozen=True, eq=False)
class RankedAnswers:
    """The ranker's weights, and the members' scores, by which one of several supporters is picked."""

    ranker: Ranker
    model: linear.Linear
    overall_M: Floats

    def pick(self, board: Board) -> Picks:
        """The candidate with the highest estimate; of equals the one that the better member supports."""
        found = candidates(board)
        value = self.model.value([self.ranker.codes(board, one) for one in found])
        top_Q = np.full(len(board.ids), -np.inf)
        who_Q = np.zeros(len(board.ids), dtype=np.intp)
        for one, estimate in zip(found, value, strict=True):
            best = max(one.members, key=lambda m: self.overall_M[m])
            ahead = estimate - top_Q[one.q]
            if ahead > 1e-12 or (ahead > -1e-12 and self.overall_M[best] > self.overall_M[who_Q[one.q]]):
                top_Q[one.q], who_Q[one.q] = estimate, best
        return everyone(board, who_Q)


@dataclass(frozen=True)
class Referee:
    """Two members, the best two: where they disagree, a logistic regression decides whose answer counts.

    Learns from the disagreements of the development half, weighted by how much is at stake in each.
    """

    c: float = 0.03

    @property
    def name(self) -> str:
        """With its setting."""
        return f"referee of two (C {self.c:g})"

    def fit(self, board: Board) -> "Refereed":
        """Learns who is right when both do not say the same."""
        order = np.argsort(-accuracies(board), kind="stable")
        a, b = int(order[0]), int(order[min(1, len(order) - 1)])
        stake_Q = np.nan_to_num(board.s_MQ[a] - board.s_MQ[b])
        apart = np.flatnonzero((np.abs(stake_Q) > 1e-9) & (board.votes_MQ[a] != board.votes_MQ[b]))
        rows = _disagreements(board, apart, a, b)
        won = (stake_Q[apart] > 0).astype(np.float64)
        return Refereed(a, b, linear.fit(rows, won, np.abs(stake_Q[apart]), self.c))


@dataclass(frozen=True, eq=False)
class Refereed:
    """Members ``a`` (the better) and ``b``, and the weights that tell whose answer counts."""

    a: int
    b: int
    model: linear.Linear

    def pick(self, board: Board) -> Picks:
        """``b`` where both disagree and it is the likelier one, else ``a``; nobody else is asked."""
        asked_MQ = np.zeros((len(board.members), len(board.ids)), dtype=np.bool_)
        asked_MQ[[self.a, self.b]] = True
        who_Q: Ints = board.alone(self.a)
        apart = np.flatnonzero(board.votes_MQ[self.a] != board.votes_MQ[self.b])
        who_Q[apart[self.model.value(_disagreements(board, apart, self.a, self.b)) < 0]] = self.b
        return Picks(who_Q=who_Q, asked_MQ=asked_MQ)


def _disagreements(board: Board, apart: Ints, a: int, b: int) -> list[Codes]:
    return [codes(board, ("apart", board.ids[q], a, b), partial(contrast, board, int(q), a, b)) for q in apart]
