"""The protocol: a collaboration is found on one half of the questions and reported on the other, in both directions.

On a development half, candidates are compared by cross-validation; the one with the highest score is fitted on all of
it and picks on the other half, blind. Then the halves change places. So every question is answered by a method that was
found without it, and the pooled test uses all of them; what each direction gave stands beside it. The bar is the member
that is best on the very questions reported, in hindsight, which favours the members. How many candidates were tried is
part of every finding. Over several boards, ``stats.holm`` corrects.

Candidates were designed on the development half of seed 0, so only that direction (the first) is untouched by design.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from aiflow.bench.collaborations.board import Board, Ints
from aiflow.bench.collaborations.methods import CANDIDATES, Method, Picks, Vote
from aiflow.bench.stats import Estimate, Floats, mcnemar, mean, sign_flip
from aiflow.errors import DataError

FOLDS = 5
ALPHA = 0.05
DRAWS = 20_000
FEWEST = 20
"""Units without which a board is not halved."""
Verdict = Literal["won", "tied", "lost"]


@dataclass(frozen=True, kw_only=True)
class Against:
    """A pick beside another on the same units: the difference, wins and losses, and two tests of "equal".

    ``p`` exchanges signs at random and holds for any score; ``p_mcnemar`` counts units won and lost only.
    """

    name: str
    score: float
    difference: Estimate
    p: float
    won: int
    lost: int
    p_mcnemar: float


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One half as development, the other as test: which method, how all candidates did, and what came out.

    ``tried``: cross-validated scores on the development half. ``beforehand``: the member that is best there.
    """

    method: Method
    tried: Mapping[str, float]
    units: tuple[int, int]
    score: float
    hindsight: Against
    beforehand: Against


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What came out on one board, on all questions: each picked by the method found on the half without it.

    ``hindsight`` is the bar: the member that is best on all questions. ``cost``: a question's price, with
    ``cost_single`` for that member alone (None: unknown). ``switched``: how often another member is picked.
    """

    board: Board = field(repr=False)
    directions: tuple[Direction, Direction]
    score: Estimate
    hindsight: Against
    members: Mapping[str, float]
    plurality: float
    oracle: float
    cost: float | None
    cost_single: float | None
    switched: float
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    who_Q: Ints = field(repr=False)

    @property
    def verdict(self) -> Verdict:
        """Against the best member in hindsight, at p < 0.05."""
        return verdict(self.hindsight)


def verdict(found: Against) -> Verdict:
    """``tied`` where p >= 0.05."""
    if found.p >= ALPHA:
        return "tied"
    return "won" if found.difference.value > 0 else "lost"


def crossvalidated(board: Board, method: Method, seed: int = 0, folds: int = FOLDS) -> Floats:
    """What each unit adds to the score of a method that was fitted on the other folds, ``c_U``."""
    fold_Q = board.folds(folds, seed)
    who_Q = np.zeros(len(board.ids), dtype=np.intp)
    for fold in range(folds):
        held = np.flatnonzero(fold_Q == fold)
        if held.size:
            fitted = method.fit(board.take(np.flatnonzero(fold_Q != fold)))
            who_Q[held] = fitted.pick(board.take(held).blind()).who_Q
    return board.contributions(who_Q)


def choose(
    development: Board, methods: Sequence[Method] = CANDIDATES, seed: int = 0
) -> tuple[Method, dict[str, float]]:
    """The method with the highest cross-validated score, the earlier of equals, and all their scores."""
    tried = {method.name: float(crossvalidated(development, method, seed).mean()) for method in methods}
    return max(methods, key=lambda method: tried[method.name]), tried


def find(board: Board, methods: Sequence[Method] = CANDIDATES, seed: int = 0) -> Finding:
    """Finds a collaboration on each half, and reports both on the half that they were not found on.

    Raises DataError where there are fewer than 20 units or one member only.
    """
    if (units := len(set(board.groups))) < FEWEST or len(board.members) < 2:
        told = f"{units} questions (units) and {len(board.members)} members"
        raise DataError(f"{board.name} has {told}; a collaboration is found on {FEWEST} of 2 or more.")
    half_Q = board.half(seed)
    who_Q = np.zeros(len(board.ids), dtype=np.intp)
    plural_Q = who_Q.copy()
    asked_MQ = np.zeros(board.s_MQ.shape, dtype=np.bool_)
    directions = []
    for number in (0, 1):
        own, other = np.flatnonzero(half_Q == number), np.flatnonzero(half_Q != number)
        development, test = board.take(own), board.take(other)
        method, tried = choose(development, methods, seed)
        picks = method.fit(development).pick(test.blind())
        directions.append(_direction(development, test, method, tried, picks, seed))
        who_Q[other], asked_MQ[:, other] = picks.who_Q, picks.asked_MQ
        plural_Q[other] = Vote().fit(development).pick(test.blind()).who_Q
    best = board.best_single()
    figures: dict[str, Mapping[str, Any]] = {}
    if board.figures:
        figures = {
            "collaboration": board.figures(board, who_Q),
            "best": board.figures(board, board.alone(best)),
        }
    return Finding(
        board=board,
        directions=(directions[0], directions[1]),
        score=mean(board.contributions(who_Q), seed, DRAWS),
        hindsight=against(board, who_Q, best, seed),
        members={name: board.score(board.alone(m)) for m, name in enumerate(board.members)},
        plurality=board.score(plural_Q),
        oracle=board.score(board.oracle()),
        cost=Picks(who_Q=who_Q, asked_MQ=asked_MQ).cost(board),
        cost_single=None if np.isnan(board.costs_M[best]) else board.costs_M[best],
        switched=float(np.mean(who_Q != best)),
        figures=figures,
        who_Q=who_Q,
    )


def crossfitted(board: Board, method: Method, seed: int = 0) -> Ints:
    """``who_Q`` of one given method, fitted on the half without the question; nothing is chosen."""
    half_Q = board.half(seed)
    who_Q = np.zeros(len(board.ids), dtype=np.intp)
    for number in (0, 1):
        other = np.flatnonzero(half_Q != number)
        fitted = method.fit(board.take(np.flatnonzero(half_Q == number)))
        who_Q[other] = fitted.pick(board.take(other).blind()).who_Q
    return who_Q


def _direction(
    development: Board, test: Board, method: Method, tried: Mapping[str, float], picks: Picks, seed: int
) -> Direction:
    return Direction(
        method=method,
        tried=tried,
        units=(len(set(development.groups)), len(set(test.groups))),
        score=test.score(picks.who_Q),
        hindsight=against(test, picks.who_Q, test.best_single(), seed),
        beforehand=against(test, picks.who_Q, development.best_single(), seed),
    )


def against(test: Board, who_Q: Ints, member: int, seed: int = 0) -> Against:
    """A pick beside one member on the units of a board."""
    other_Q = test.alone(member)
    d_U = test.contributions(who_Q) - test.contributions(other_Q)
    won, lost, p_mcnemar = mcnemar(test.worth(who_Q)[0] - test.worth(other_Q)[0])
    return Against(
        name=test.members[member],
        score=test.score(other_Q),
        difference=mean(d_U, seed, DRAWS),
        p=sign_flip(d_U, seed, DRAWS),
        won=won,
        lost=lost,
        p_mcnemar=p_mcnemar,
    )


def again(board: Board, method: Method, seeds: Sequence[int]) -> Mapping[str, float]:
    """The method on other splits: how often it is ahead of the best member in hindsight, how often with p < 0.05.

    The method was chosen on a development half that overlaps these test halves: this tells how much hangs on the
    split, and is no further evidence.
    """
    rows = []
    for seed in seeds:
        development, test = board.halves(seed)
        who_Q = method.fit(development).pick(test.blind()).who_Q
        found = against(test, who_Q, test.best_single(), seed)
        rows.append((found.difference.value, found.p < ALPHA))
    return {
        "splits": len(rows),
        "ahead": sum(d > 0 for d, _ in rows),
        "won": sum(d > 0 and sure for d, sure in rows),
        "lost": sum(d < 0 and sure for d, sure in rows),
        "difference": float(np.mean([d for d, _ in rows])) if rows else 0.0,
    }
