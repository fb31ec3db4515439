"""Cascade: cheap members first; the strong one is asked only where they disagree. Saves cost, may add accuracy."""

from dataclasses import dataclass

import numpy as np

from aiflow.bench.collaborations.board import Board
from aiflow.bench.collaborations.methods.picks import Picks, accuracies


@dataclass(frozen=True)
class Cascade:
    """The ``first`` cheapest members answer; if all of them agree that is the answer, else the best member's is.

    Only where the cheap ones' agreement is at least ``floor`` as reliable as the best member on those same questions of
    the development half; otherwise the best member is always asked.
    """

    first: int = 2
    floor: float = 1.0

    @property
    def name(self) -> str:
        """With its settings."""
        return f"cascade ({self.first} agree, floor {self.floor:g})"

    def fit(self, board: Board) -> "Escalation":
        """Finds for each category whether agreement may be trusted."""
        overall_M = accuracies(board)
        top = int(np.argmax(overall_M))
        price_M = np.nan_to_num(np.array(board.costs_M), nan=np.inf)
        cheap = [int(m) for m in np.argsort(price_M, kind="stable") if m != top][: self.first]
        agree_Q = _agree(board, cheap)
        trusted: set[str] = set()
        for kind in dict.fromkeys(board.categories) if len(cheap) == self.first else ():
            part_Q = agree_Q & (np.array(board.categories) == kind)
            if part_Q.sum() < 5:
                continue
            own, best = np.nanmean(board.s_MQ[cheap[0], part_Q]), np.nanmean(board.s_MQ[top, part_Q])
            if own >= self.floor * best:
                trusted.add(kind)
        return Escalation(top, tuple(cheap), frozenset(trusted))


@dataclass(frozen=True)
class Escalation:
    """The best member, the cheap ones, and the categories in which these may decide."""

    top: int
    cheap: tuple[int, ...]
    trusted: frozenset[str]

    def pick(self, board: Board) -> Picks:
        """The cheap members' common answer in trusted categories, else the best member's."""
        may_Q = np.array([kind in self.trusted for kind in board.categories])
        settled_Q = may_Q & _agree(board, list(self.cheap))
        who_Q = board.alone(self.top)
        asked_MQ = np.zeros((len(board.members), len(board.ids)), dtype=np.bool_)
        for m in self.cheap:
            asked_MQ[m] = may_Q
        asked_MQ[self.top] = ~settled_Q
        if self.cheap:
            who_Q[settled_Q] = self.cheap[0]
        return Picks(who_Q=who_Q, asked_MQ=asked_MQ)


def _agree(board: Board, members: list[int]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if not members:
        return np.zeros(len(board.ids), dtype=np.bool_)
    first = board.votes_MQ[members[0]]
    same: np.ndarray[tuple[int], np.dtype[np.bool_]] = (board.votes_MQ[members] == first).all(axis=0) & (first != "")
    return same
