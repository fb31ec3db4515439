"""Small boards made up for tests: members with known strengths."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aiflow.bench.collaborations.board import Board
from aiflow.bench.collaborations.boards.make import Entry, make

Maker = Callable[..., Board]


def made(right_MQ: Any, categories: Any = None, groups: Any = None, **more: Any) -> Board:
    """Answers are numbers that tell nothing: all members that are right say one, each that is wrong another."""
    right = np.asarray(right_MQ, dtype=np.float64)
    rng = np.random.default_rng(11)
    said = [rng.choice(np.arange(100, 1000), len(right) + 1, replace=False) for _ in range(right.shape[1])]
    texts = np.array([[str(said[q][0 if s == 1 else m + 1]) for q, s in enumerate(row)] for m, row in enumerate(right)])
    entries = [
        Entry(
            id=str(q),
            question=f"what is {q}?",
            category="" if categories is None else str(categories[q]),
            group="" if groups is None else str(groups[q]),
            answers=texts[:, q].tolist(),
            votes=texts[:, q].tolist(),
            scores=list(right[:, q]),
        )
        for q in range(right.shape[1])
    ]
    return make("made", [f"m{m}-{m + 1}b" for m in range(len(right))], entries, **more)


@pytest.fixture
def make_board() -> Maker:
    """``made``."""
    return made


@pytest.fixture
def specialists() -> Board:
    """300 questions of two categories; each of two members is good at one."""
    rng = np.random.default_rng(5)
    kinds = np.arange(300) % 2
    chance_MQ = np.where(kinds == np.array([[0], [1]]), 0.85, 0.45)
    return made(rng.random(chance_MQ.shape) < chance_MQ, ["art" if k else "law" for k in kinds])
