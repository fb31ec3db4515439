"""What a tier says at a position, given what the tier below proposed. Every rule keeps the tier's own law exactly.

A proposal is accepted if the rule says the same token; after a rejection nothing of the proposal remains. The last
token of a block, after all proposals, is said without one. Sources: AI Flow, section II-B2; Leviathan et al. 2023;
Daliri, Musco and Suresh 2024 (shared noise).

Legend: T positions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aiflow.collaboration.decoding import noise
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.sparse import STEPS, Sparse, sparse
from aiflow.errors import InputError

Proposed = Sequence[Sparse | None]
"""By position, the law that a proposal was drawn from; None: it was chosen without chance (a one-hot law)."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """``tokens`` of a tier, at most one beyond the proposals, and the ``laws`` they were drawn from."""

    tokens: list[int]
    laws: list[Sparse | None]


class Rule(Protocol):
    """How one tier speaks."""

    def say(self, logits_TV: Tensor, tokens: Sequence[int], start: int, proposed: Proposed) -> Said:
        """Tokens for the positions from ``start`` on, up to the first rejection.

        Args:
            logits_TV: row t is for position ``start`` + t, given ``tokens[: start + t]``.
            tokens: what is there, the proposals included; positions beyond it have no proposal.
            start: first position to say.
            proposed: laws of the proposals, from ``start`` on.
        """


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """The most probable token."""

    law: Law

    def say(self, logits_TV: Tensor, tokens: Sequence[int], start: int, proposed: Proposed) -> Said:  # noqa: ARG002
        """See `Rule.say`."""
        return _until_other(self.law.argmax(logits_TV, tokens, start), tokens, start)


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A draw by noise that all tiers share, so that tiers that agree in law agree in the token.

    The text is a function of the target and the seed: no drafter, draft length or fault changes it.
    """

    law: Law
    seed: int

    def say(self, logits_TV: Tensor, tokens: Sequence[int], start: int, proposed: Proposed) -> Said:  # noqa: ARG002
        """See `Rule.say`."""
        rows = self.law.log_probs(logits_TV, tokens, start)
        said: list[int] = []
        for t, row in enumerate(rows):
            said.append(int(np.argmax(row + noise.gumbel(self.seed, start + t, len(row)))))
            if start + t < len(tokens) and said[-1] != tokens[start + t]:
                break
        return Said(tokens=said, laws=[None] * len(said))


@dataclass(frozen=True, kw_only=True)
class Soft:
    """Accepts x with probability min(1, p(x) / q(x)), and else draws from the normalised (p - q)+.

    A tier that is itself judged (``keep`` > 0) speaks by the sparse law of its ``keep`` most probable tokens, since the
    tier above must know exactly what its tokens were drawn from.
    """

    law: Law
    seed: int
    tier: int
    keep: int = 0

    def say(self, logits_TV: Tensor, tokens: Sequence[int], start: int, proposed: Proposed) -> Said:
        """See `Rule.say`."""
        rows = self.law.log_probs(logits_TV, tokens, start)
        said = Said(tokens=[], laws=[])
        for t, row in enumerate(rows):
            own = sparse(row, self.keep) if self.keep else None
            p_V = own.dense(len(row)) if own else np.exp(row)
            there = start + t < len(tokens)
            token = self._one(p_V, tokens[start + t] if there else None, proposed[t] if there else None, start + t)
            said.tokens.append(token)
            said.laws.append(own.first(token) if own else None)
            if there and token != tokens[start + t]:
                break
        return said

    def _one(self, p_V: NDArray[np.float64], token: int | None, law: Sparse | None, position: int) -> int:
        coin, second = (
            float(noise.uniforms(self.seed, noise.own(self.tier, second=k), position)[0]) for k in (False, True)
        )
        if token is None:
            return draw(p_V, second)
        return judge(p_V, token, law, coin, second)


def judge(p_V: NDArray[np.float64], token: int, law: Sparse | None, coin: float, second: float) -> int:
    """The exact rule of one position: ``token`` itself, or a draw from the residual by ``second``.

    Args:
        p_V: probabilities of the judging tier.
        token: the proposal.
        law: what it was drawn from; None: one-hot.
        coin: uniform; accepts.
        second: uniform; draws after a rejection.
    """
    q_V = np.zeros_like(p_V)
    if law is None:
        q_V[token : token + 1] = 1.0
    else:
        for t, count in zip(law.ids, law.counts, strict=True):
            if t < len(p_V):  # what lies beyond can only be rejected
                q_V[t] = count / STEPS
    if token < len(p_V) and p_V[token] > 0 and coin * q_V[token] <= p_V[token]:  # no division by 0
        return token
    rest_V = np.maximum(p_V - q_V, 0.0)
    return draw(rest_V if rest_V.sum() > 0 else p_V, second)


def draw(weights_V: NDArray[np.float64], u: float) -> int:
    """The index that ``u`` in (0, 1) draws with probabilities proportional to ``weights_V``."""
    edges = np.cumsum(weights_V)
    return int(min(np.searchsorted(edges, u * edges[-1], side="right"), np.flatnonzero(weights_V)[-1]))


def _until_other(said: list[int], tokens: Sequence[int], start: int) -> Said:
    for t, token in enumerate(said):
        if start + t < len(tokens) and token != tokens[start + t]:
            said = said[: t + 1]
            break
    return Said(tokens=said, laws=[None] * len(said))


def rule(mode: str, law: Law, *, seed: int, tier: int, top: bool, keep: int = 16) -> Rule:
    """The rule of a tier: mode "greedy", "shared" (noise) or "soft" (acceptance). Raises InputError."""
    if mode not in MODES:
        raise InputError(f"mode {mode!r} is not known; use one of {', '.join(MODES)}.")
    if (mode == "greedy") != (law.temperature == 0):
        raise InputError(f"mode {mode!r} at temperature {law.temperature}: 'greedy' is for 0, the others for above.")
    if not 0 <= seed < 1 << 64 or not 1 <= keep < 256:
        raise InputError(f"seed={seed}, keep={keep} are not usable; give 0..2^64 - 1, and 1..255 ids.")
    if mode == "greedy":
        return Greedy(law=law)
    if mode == "shared":
        return Shared(law=law, seed=seed)
    return Soft(law=law, seed=seed, tier=tier, keep=0 if top else keep)


MODES = ("greedy", "shared", "soft")
