"""Puts a board together from entries, one for each question; and boards of several suites together into one."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np

from aiflow.bench.collaborations.board import Board
from aiflow.errors import DataError

_BILLIONS = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[bB](?![a-zA-Z])")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A question and what each member made of it, in the order of the members.

    ``scores``: 0..1, NaN unknown; ``votes``: "" none; ``lengths`` and ``weights`` if they are not those of the texts,
    and 1 where the score is known.
    """

    id: str
    question: str
    category: str
    answers: Sequence[str]
    votes: Sequence[str]
    scores: Sequence[float]
    group: str = ""
    lengths: Sequence[float] | None = None
    weights: Sequence[float] | None = None


def make(name: str, members: Sequence[str], entries: Sequence[Entry], **more: Any) -> Board:
    """The board of entries; costs are the billions of parameters in the members' names. Raises DataError."""
    if not entries or not members:
        raise DataError(f"{name} has {len(members)} recorded models and {len(entries)} questions; it needs some.")

    def table(values: Callable[[Entry], Sequence[Any]], kind: Any) -> Any:
        found = np.empty((len(members), len(entries)), dtype=kind)
        for q, entry in enumerate(entries):
            found[:, q] = values(entry)
        return found

    s_MQ = table(lambda e: e.scores, np.float64)
    costs = more.pop("costs_M", None) or tuple(billions(member) for member in members)
    return Board(
        name=name,
        members=tuple(members),
        ids=tuple(entry.id for entry in entries),
        questions=tuple(entry.question for entry in entries),
        categories=tuple(entry.category for entry in entries),
        groups=tuple(entry.group or entry.id for entry in entries),
        keys=tuple(entry.group or entry.id for entry in entries),
        answers_MQ=table(lambda e: e.answers, object),
        votes_MQ=table(lambda e: e.votes, object),
        s_MQ=s_MQ,
        lengths_MQ=table(lambda e: [len(a) for a in e.answers] if e.lengths is None else e.lengths, np.float64),
        weights_MQ=table(lambda e: [not isnan(s) for s in e.scores] if e.weights is None else e.weights, np.float64),
        costs_M=costs,
        **more,
    )


def together(name: str, boards: Sequence[Board]) -> Board:
    """One board of several suites that the same members answered; a question's category tells its suite.

    Every question counts the same: units' rules (MME's pairs, circular evaluation) do not carry over. Raises DataError
    where members differ.
    """
    first = boards[0]
    if any(board.members != first.members for board in boards):
        raise DataError(f"{name}: {', '.join(board.name for board in boards)} have different members.")

    def joined(values: Callable[[Board], Sequence[str]]) -> tuple[str, ...]:
        return tuple(f"{board.name}/{value}" for board in boards for value in values(board))

    rows = ("answers_MQ", "votes_MQ", "s_MQ", "lengths_MQ", "weights_MQ")
    tables: Mapping[str, Any] = {row: np.concatenate([getattr(b, row) for b in boards], axis=1) for row in rows}
    return Board(
        name=name,
        members=first.members,
        ids=joined(lambda b: b.ids),
        questions=tuple(text for board in boards for text in board.questions),
        categories=joined(lambda b: b.categories),
        groups=joined(lambda b: b.groups),
        keys=tuple(key for board in boards for key in board.keys),
        costs_M=first.costs_M,
        kind=first.kind,
        **tables,
    )


def billions(model: str) -> float:
    """The parameters in a model's name, in billions (``8x22B``: all experts); NaN where it tells none."""
    if mixed := re.search(r"(\d+)x(\d+(?:\.\d+)?)[bB]", model):
        return float(mixed[1]) * float(mixed[2])
    found = _BILLIONS.search(model.replace("_", " ").replace("-", " "))
    return float(found[1]) if found else float("nan")
