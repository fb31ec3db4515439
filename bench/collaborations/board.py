"""A board: what every member answered to every question of a suite, and what each answer was worth.

It knows nothing of suites, files or methods. A *pick* names for every question the member whose answer counts; a
collaboration of recorded agents is a rule that makes picks.

Legend: M members, Q questions, U units. A unit is a group of questions that stand and fall together (both questions on
an image, the rotations of one question); most suites have one question per unit. Halves never cut a unit in two.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aiflow.bench.stats import Floats
from aiflow.errors import DataError

Ints = NDArray[np.intp]
Strings = NDArray[np.object_]
Rule = Literal["mean", "all", "mean+all"]
"""What a unit is worth: the mean of its questions, 1 where all are right, or half of each (MME's acc and acc+)."""
Figures = Callable[["Board", Ints], Mapping[str, Any]]
"""Further figures of a pick that the benchmark publishes, e.g. the length-controlled win rate."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Board:
    """Scores ``s_MQ`` are 0..1 (NaN: unknown), shown times ``best``; ``votes_MQ`` are comparable answers ("": none).

    ``answers_MQ``: the texts ("" where only their length is known); ``lengths_MQ``: characters. ``weights_MQ``: how
    much a question counts if that member's answer is picked (Arena-Hard's rows). ``balanced``: categories count the
    same however many units they have. ``costs_M``: a member's price per question (NaN: unknown), in ``cost_unit``.
    ``keys``: the groups' names by which halves are dealt out; boards put together keep those of their parts, so that a
    question is in the same half on every board. ``memo``: what methods derived from questions and answers; parts of a
    board share it, other members get a new one.

    Raises DataError where the parts do not fit together.
    """

    name: str
    members: tuple[str, ...]
    ids: tuple[str, ...]
    questions: tuple[str, ...] = field(repr=False)
    categories: tuple[str, ...] = field(repr=False)
    groups: tuple[str, ...] = field(repr=False)
    keys: tuple[str, ...] = field(repr=False)
    answers_MQ: Strings = field(repr=False)
    votes_MQ: Strings = field(repr=False)
    s_MQ: Floats = field(repr=False)
    lengths_MQ: Floats = field(repr=False)
    weights_MQ: Floats = field(repr=False)
    costs_M: tuple[float, ...]
    cost_unit: str = "billion parameters"
    best: float = 100.0
    unit: str = "%"
    rule: Rule = "mean"
    balanced: bool = False
    kind: Literal["text", "VQA"] = "text"
    figures: Figures | None = field(default=None, repr=False)
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        shape = (len(self.members), len(self.ids))
        for name in ("answers_MQ", "votes_MQ", "s_MQ", "lengths_MQ", "weights_MQ"):
            if getattr(self, name).shape != shape:
                raise DataError(f"board {self.name}: {name} is {getattr(self, name).shape}, not {shape}.")
        for name in ("questions", "categories", "groups", "keys"):
            if len(getattr(self, name)) != len(self.ids):
                raise DataError(f"board {self.name}: {len(getattr(self, name))} {name} of {len(self.ids)} questions.")
        if len(set(self.ids)) != len(self.ids):
            raise DataError(f"board {self.name} holds an id twice; remove one.")
        if len(self.costs_M) != len(self.members):
            raise DataError(f"board {self.name}: {len(self.costs_M)} costs of {len(self.members)} members.")

    @cached_property
    def units(self) -> Ints:
        """The unit of every question, ``u_Q``, numbered in the order of first appearance."""
        number: dict[str, int] = {}
        return np.array([number.setdefault(group, len(number)) for group in self.groups], dtype=np.intp)

    def take(self, chosen_Q: Ints) -> "Board":
        """The board of some questions only, given by their places."""
        pick = chosen_Q.tolist()
        rows = ("answers_MQ", "votes_MQ", "s_MQ", "lengths_MQ", "weights_MQ")
        lists = ("ids", "questions", "categories", "groups", "keys")
        changed: dict[str, Any] = {name: getattr(self, name)[:, chosen_Q] for name in rows}
        changed |= {name: tuple(map(getattr(self, name).__getitem__, pick)) for name in lists}
        return replace(self, **changed)

    def only(self, members: Sequence[str], name: str = "") -> "Board":
        """The board of some members only, in that order. Raises DataError for an unknown one."""
        lacking = [m for m in members if m not in self.members]
        if lacking or not members:
            raise DataError(f"board {self.name} has no member {', '.join(lacking)}; it has {', '.join(self.members)}.")
        kept = [self.members.index(m) for m in members]
        rows = ("answers_MQ", "votes_MQ", "s_MQ", "lengths_MQ", "weights_MQ")
        changed: dict[str, Any] = {row: getattr(self, row)[kept] for row in rows}
        costs = tuple(self.costs_M[m] for m in kept)
        return replace(self, name=name or self.name, members=tuple(members), costs_M=costs, memo={}, **changed)

    def blind(self) -> "Board":
        """The same without its scores and weights: all that a collaboration may see of test questions."""
        unknown = np.full_like(self.s_MQ, np.nan)
        return replace(self, s_MQ=unknown, weights_MQ=np.ones_like(unknown), figures=None)

    def half(self, seed: int = 0) -> Ints:
        """The half 0 or 1 of every question: units by hash of their key and the seed, in turns within each category."""
        return self._dealt(2, seed)

    def halves(self, seed: int = 0) -> tuple["Board", "Board"]:
        """Both halves as boards."""
        half_Q = self.half(seed)
        return self.take(np.flatnonzero(half_Q == 0)), self.take(np.flatnonzero(half_Q == 1))

    def folds(self, count: int, seed: int = 0) -> Ints:
        """The fold 0..count-1 of every question, ``f_Q``; a unit stays in one fold, folds are even in each category."""
        return self._dealt(count, seed + 1)

    def _dealt(self, count: int, seed: int) -> Ints:
        first: dict[str, tuple[str, str]] = {}
        for group, category, key in zip(self.groups, self.categories, self.keys, strict=True):
            first.setdefault(group, (category, hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()))
        ranked = sorted(first, key=first.__getitem__)
        place = {group: rank % count for rank, group in enumerate(ranked)}
        return np.array([place[group] for group in self.groups], dtype=np.intp)

    def worth(self, who_Q: Ints) -> tuple[Floats, Floats]:
        """What a pick's answers to each unit are worth, ``v_U`` in 0..1, and how much the unit counts, ``w_U``."""
        across = np.arange(len(self.ids))
        units_Q, s_Q, w_Q = self.units, self.s_MQ[who_Q, across], self.weights_MQ[who_Q, across]
        w_U: Floats = np.bincount(units_Q, w_Q) / np.bincount(units_Q)
        known_Q = np.where(w_Q > 0, w_Q * s_Q, 0.0)
        v_U: Floats = np.bincount(units_Q, known_Q) / np.maximum(np.bincount(units_Q, w_Q), 1e-12)
        if self.rule != "mean":
            all_U = np.ones(w_U.size)
            np.minimum.at(all_U, units_Q, s_Q)
            v_U = all_U if self.rule == "all" else (v_U + all_U) / 2
        return v_U, w_U / self._category_sizes() if self.balanced else w_U

    def contributions(self, who_Q: Ints) -> Floats:
        """What each unit adds to a pick's score, ``c_U`` in 0..``best``: their plain mean is the score.

        With unequal weights these are the linearised contributions to the weighted mean (its influence function).
        """
        v_U, w_U = self.worth(who_Q)
        score = float(w_U @ v_U / w_U.sum())
        c_U: Floats = self.best * (w_U * (v_U - score) / w_U.mean() + score)
        return c_U

    def score(self, who_Q: Ints) -> float:
        """The score of a pick, 0..``best``."""
        return float(self.contributions(who_Q).mean())

    def alone(self, member: int) -> Ints:
        """The pick that is always one member."""
        return np.full(len(self.ids), member, dtype=np.intp)

    def best_single(self) -> int:
        """The member that scores highest alone; the earlier of equals."""
        return int(np.argmax([self.score(self.alone(m)) for m in range(len(self.members))]))

    def oracle(self) -> Ints:
        """Always the member whose answer is worth most: what a perfect router would pick."""
        known_MQ = np.where(np.isnan(self.s_MQ), -1.0, self.s_MQ)
        best_Q: Ints = np.argmax(known_MQ, axis=0)
        return best_Q

    def _category_sizes(self) -> Floats:
        units_Q = self.units
        _, first_U = np.unique(units_Q, return_index=True)
        names = np.array(self.categories, dtype=object)[first_U]
        _, place_U, count = np.unique(names.astype(str), return_inverse=True, return_counts=True)
        sizes_U: Floats = count[place_U].astype(np.float64)
        return sizes_U
