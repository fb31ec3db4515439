"""Routing: one member is asked, chosen by what the development half says of questions like this one."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from aiflow.bench.collaborations.board import Board
from aiflow.bench.collaborations.methods.picks import Picks, accuracies, by_category, chosen_only


@dataclass(frozen=True)
class Single:
    """No collaboration: the member that is best on the development half."""

    name: str = "best single"

    def fit(self, board: Board) -> "Always":
        """Remembers who that is."""
        return Always(board.best_single())


@dataclass(frozen=True)
class Always:
    """Always the same member."""

    member: int

    def pick(self, board: Board) -> Picks:
        """That member."""
        return chosen_only(board, board.alone(self.member))


@dataclass(frozen=True)
class ByCategory:
    """The member with the best mean in the question's category, shrunk towards its overall mean by ``prior`` units."""

    prior: float = 30.0

    @property
    def name(self) -> str:
        """With its setting."""
        return f"routing by category (prior {self.prior:g})"

    def fit(self, board: Board) -> "CategoryRouter":
        """Means per member and category."""
        expected = by_category(board, self.prior)
        best = {kind: int(np.argmax(e_M)) for kind, e_M in expected.items()}
        return CategoryRouter(best, int(np.argmax(accuracies(board))))


@dataclass(frozen=True)
class CategoryRouter:
    """Category -> member; unknown categories go to the best member."""

    best: dict[str, int]
    otherwise: int

    def pick(self, board: Board) -> Picks:
        """By the question's category alone."""
        return chosen_only(board, np.array([self.best.get(kind, self.otherwise) for kind in board.categories]))


@dataclass(frozen=True)
class ByText:
    """Each member's score is predicted from the question's words (tf-idf, ridge); the highest prediction is asked."""

    alpha: float = 10.0

    @property
    def name(self) -> str:
        """With its setting."""
        return f"routing by question text (ridge {self.alpha:g})"

    def fit(self, board: Board) -> "TextRouter":
        """One ridge regression with an output per member."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge

        rare = 3 if len(board.ids) > 30 else 1
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=rare, sublinear_tf=True, token_pattern=r"(?u)\S+")
        known_MQ = np.where(np.isnan(board.s_MQ), np.nanmean(board.s_MQ, axis=1, keepdims=True), board.s_MQ)
        x_QF = words.fit_transform(texts(board))
        return TextRouter(words, Ridge(alpha=self.alpha).fit(x_QF, known_MQ.T))


@dataclass(frozen=True)
class TextRouter:
    """Vectorizer and regression of ``ByText``."""

    words: Any
    model: Any

    def pick(self, board: Board) -> Picks:
        """By the question's words and category."""
        predicted_QM = np.asarray(self.model.predict(self.words.transform(texts(board)))).reshape(len(board.ids), -1)
        return chosen_only(board, np.argmax(predicted_QM, axis=1))


def texts(board: Board) -> list[str]:
    """Question and category as one text each."""
    kinds = ["category=" + "_".join(kind.split()) for kind in board.categories]
    return [f"{kind} {text}".lower() for kind, text in zip(kinds, board.questions, strict=True)]
