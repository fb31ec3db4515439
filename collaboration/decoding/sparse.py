"""Distributions small enough to travel: a few ids with lattice probabilities, packed to the bit.

The drafter draws from exactly what it sends (quantise, then sample), which keeps soft acceptance exact.

Legend: K kept ids, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiflow.errors import InputError, MessageError

STEPS = 65535
"""Lattice steps that the probabilities of one distribution add up to; each fits into 16 bits."""


@dataclass(frozen=True)
class Sparse:
    """``ids`` (K,) with ``counts`` (K,) of ``STEPS``; none is 0, and the token that was drawn stands first."""

    ids: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def drawn(self) -> int:
        """The token that was drawn."""
        return self.ids[0]

    def dense(self, vocabulary: int) -> NDArray[np.float64]:
        """(V,)."""
        row = np.zeros(vocabulary)
        row[list(self.ids)] = np.array(self.counts) / STEPS
        return row

    def first(self, token: int) -> "Sparse":
        """The same distribution with ``token``, one of its ids, in front."""
        at = self.ids.index(token)
        ids, counts = self.ids, self.counts
        return Sparse((token, *ids[:at], *ids[at + 1 :]), (counts[at], *counts[:at], *counts[at + 1 :]))


def sparse(logp_V: NDArray[np.float64], keep: int) -> Sparse:
    """The ``keep`` most probable tokens, with probabilities rounded to lattice steps by largest remainders.

    Ids whose share rounds to nothing are dropped, so fewer may be left. Raises InputError for ``keep`` < 1.
    """
    if keep < 1:
        raise InputError(f"keep={keep} ids of a distribution are not usable; give at least 1.")
    best = np.argsort(-logp_V, kind="stable")[:keep]
    mass = np.exp(logp_V[best] - logp_V[best[0]])
    exact = mass / mass.sum() * STEPS
    counts = np.floor(exact).astype(np.int64)
    left = STEPS - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    there = counts > 0
    return Sparse(tuple(best[there].tolist()), tuple(counts[there].tolist()))


def pack(laws: Sequence[Sparse], id_bits: int) -> bytes:
    """Each law as a count u8 and K x (``id_bits`` + 16) bits. Raises InputError for ids that do not fit."""
    parts = []
    for law in laws:
        if not (0 < len(law.ids) < 256 and 0 <= min(law.ids) <= max(law.ids) < 1 << id_bits):
            raise InputError(
                f"a distribution of {len(law.ids)} ids up to {max(law.ids)} does not fit; check Job.vocabulary."
            )
        number, bits = 0, 0
        for token, count in zip(law.ids, law.counts, strict=True):
            number |= (token | count << id_bits) << bits
            bits += id_bits + 16
        parts.append(bytes([len(law.ids)]) + number.to_bytes((bits + 7) // 8, "little"))
    return b"".join(parts)


def unpack(data: bytes, count: int, id_bits: int) -> tuple[tuple[Sparse, ...], int]:
    """``count`` laws and the bytes they took. Raises MessageError for anything `pack` does not write."""
    laws, at = [], 0
    for _ in range(count):
        kept = data[at] if at < len(data) else 0
        end = at + 1 + (kept * (id_bits + 16) + 7) // 8
        if not kept or end > len(data):
            raise MessageError("the distributions of a draft are cut short.")
        number, ids, counts = int.from_bytes(data[at + 1 : end], "little"), [], []
        for _ in range(kept):
            ids.append(number & ((1 << id_bits) - 1))
            counts.append(number >> id_bits & 0xFFFF)
            number >>= id_bits + 16
        if number or sum(counts) != STEPS or len(set(ids)) != kept or min(counts) < 1:
            raise MessageError("a distribution of a draft is not one: its ids repeat or its shares do not add up.")
        laws.append(Sparse(tuple(ids), tuple(counts)))
        at = end
    return tuple(laws), at
