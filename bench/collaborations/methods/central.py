"""Extractive merge: the answer most like all the others, each weighted by what is expected of its member.

Words are all it needs, so it serves free text, where votes cannot be counted.
"""

from dataclasses import dataclass

import numpy as np

from aiflow.bench.collaborations.board import Board
from aiflow.bench.collaborations.methods.picks import Picks, accuracies, everyone
from aiflow.bench.stats import Floats


@dataclass(frozen=True)
class Central:
    """Likeness is the cosine of tf-idf vectors; members weigh exp(expected score / ``temperature``)."""

    temperature: float = 0.1

    @property
    def name(self) -> str:
        """With its setting."""
        return f"extractive merge (temperature {self.temperature:g})"

    def fit(self, board: Board) -> "Consensus":
        """What to expect of each member."""
        a_M = accuracies(board)
        return Consensus(np.exp((a_M - a_M.max()) / self.temperature))


@dataclass(frozen=True, eq=False)
class Consensus:
    """How credible each member is, ``credit_M``."""

    credit_M: Floats

    def pick(self, board: Board) -> Picks:
        """Per question: each answer's likeness to all answers, weighted by who gave them and by its own member."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        count, size = len(board.members), len(board.ids)
        said = [str(text) for row in board.answers_MQ for text in row]
        try:
            x = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\S+").fit_transform(said)
        except ValueError:  # no words at all: nothing to compare
            return everyone(board, board.alone(int(np.argmax(self.credit_M))))
        likeness_MMQ = np.empty((count, count, size))
        for a in range(count):
            rows = x[a * size : (a + 1) * size]
            for b in range(count):
                other = x[b * size : (b + 1) * size]
                likeness_MMQ[a, b] = np.asarray(rows.multiply(other).sum(axis=1)).ravel()
            likeness_MMQ[a, a] = 1.0
        support_MQ = np.einsum("b,abq->aq", self.credit_M, likeness_MMQ)
        return everyone(board, np.argmax(support_MQ + 1e-9 * self.credit_M[:, None], axis=0))
