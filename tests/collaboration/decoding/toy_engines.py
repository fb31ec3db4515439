"""Toy models of decoding, tiers made of them, and how far samples are from a law.

Legend: T rows, V vocabulary.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from aiflow.collaboration.decoding import chain
from aiflow.collaboration.decoding.engine import Engine, Read
from aiflow.collaboration.decoding.rules import Rule
from aiflow.collaboration.decoding.tier import Job, Plan, Tier


class TableEngine:
    """A Markov chain: row k of the table (V, V) are the logits after the token k."""

    def __init__(self, table_VV: Tensor) -> None:
        self.table_VV = table_VV

    @classmethod
    def random(cls, vocabulary: int, seed: int, scale: float = 1.0) -> "TableEngine":
        """Normal logits."""
        return cls(torch.tensor(np.random.default_rng(seed).normal(size=(vocabulary, vocabulary)) * scale))

    @property
    def probs_VV(self) -> NDArray[np.float64]:
        """The distributions at temperature 1."""
        found: NDArray[np.float64] = self.table_VV.softmax(-1).numpy()
        return found

    def read(self, asked: Sequence[Read]) -> list[Tensor]:
        """See `Engine.read`."""
        return [self.table_VV[torch.tensor(one.tokens[-one.rows :])] for one in asked]

    def close(self, session: int) -> None:
        """Nothing is kept."""


class HashEngine:
    """Logits that depend on the whole prefix. The greedy token agrees with that of ``like`` at a share ``alpha``."""

    def __init__(
        self, vocabulary: int, seed: int, *, like: "HashEngine | None" = None, alpha: float = 0.0, gap: float = 4.0
    ) -> None:
        """``gap``: how far the greedy token stands above the others, whose logits are uniform in (0, 1)."""
        self.vocabulary, self.seed, self.like, self.alpha, self.gap = vocabulary, seed, like, alpha, gap
        self.read_rows = 0

    def greedy(self, tokens: Sequence[int]) -> int:
        """The most probable token after ``tokens``."""
        own = self._hash(tokens)
        if self.like is None:
            return own % self.vocabulary
        right = self.like.greedy(tokens)
        if own / 2.0**64 < self.alpha:
            return right
        return (right + 1 + own % (self.vocabulary - 1)) % self.vocabulary

    def row(self, tokens: Sequence[int]) -> Tensor:
        """Logits (V,) after ``tokens``."""
        raw = np.random.Philox(key=self._hash(tokens)).random_raw(self.vocabulary)
        row = torch.from_numpy((raw >> np.uint64(11)) * 2.0**-53)
        row[self.greedy(tokens)] = 1 + self.gap
        return row

    def read(self, asked: Sequence[Read]) -> list[Tensor]:
        """See `Engine.read`."""
        self.read_rows += sum(one.rows for one in asked)
        return [
            torch.stack([self.row(one.tokens[: len(one.tokens) - one.rows + t + 1]) for t in range(one.rows)])
            for one in asked
        ]

    def close(self, session: int) -> None:
        """Nothing is kept."""

    def _hash(self, tokens: Sequence[int]) -> int:
        salt = self.seed.to_bytes(8, "little")
        return int.from_bytes(blake2b(array("q", tokens).tobytes(), digest_size=8, key=salt).digest(), "little")


def stations(job: Job, rules: Sequence[Rule], plans: Sequence[Plan], engines: Sequence[Engine]) -> list[chain.Station]:
    """Tiers, the device first."""
    top = len(rules) - 1
    return [
        chain.Station(tier=Tier(job, rule, plan, bottom=k == 0, top=k == top), engine=engine)
        for k, (rule, plan, engine) in enumerate(zip(rules, plans, engines, strict=True))
    ]


def text(job: Job, rules: Sequence[Rule], plans: Sequence[Plan], engines: Sequence[Engine]) -> list[int]:
    """What the tiers say together."""
    made = stations(job, rules, plans, engines)
    chain.run(made)
    return made[0].tier.answer


Cell = tuple[int, ...]


def markov(
    probs_VV: NDArray[np.float64], first: int, length: int, ends: frozenset[int] = frozenset()
) -> dict[Cell, float]:
    """The law of the texts of a Markov chain after the token ``first``."""
    law: dict[Cell, float] = {}
    for cell in product(range(len(probs_VV)), repeat=length):
        stop = next((i + 1 for i, token in enumerate(cell) if token in ends), length)
        chance = np.prod([probs_VV[a, b] for a, b in zip((first, *cell), cell[:stop], strict=False)])
        law[cell[:stop]] = float(chance)
    return law


def fit(samples: Iterable[Cell], law: Mapping[Cell, float]) -> float:
    """The chi-square p-value of samples of a law; what is expected less than 5 times counts together."""
    seen = Counter(samples)
    assert set(seen) <= set(law), "a text that cannot be"
    total = sum(seen.values())
    rare = [cell for cell, chance in law.items() if chance * total < 5]
    pairs = [(seen[cell], chance * total) for cell, chance in law.items() if chance * total >= 5]
    if sum(law[cell] for cell in rare) * total >= 5:
        pairs.append((sum(seen[cell] for cell in rare), sum(law[cell] for cell in rare) * total))
    found, expected = np.array(pairs).T
    return float(stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue)
