"""Logits -> tokens, for all rows at once. Each row draws from its own generator, so its company changes nothing.

N: rows; H: rows that sample; W: rows whose likeliest tokens are wanted; K: those; V: vocabulary.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

Ranked = list[tuple[int, float]]
_MOST = 20  # of `Options.top_logprobs`; always as many, so that among equals a row's company changes nothing


@dataclass(frozen=True, kw_only=True)
class Law:
    """How one row chooses: ``temperature`` 0 is greedy, else one uniform number of ``draws`` per token."""

    temperature: float = 0.0
    top_p: float = 1.0
    draws: random.Random = field(default_factory=random.Random)


def choose(logits_NV: torch.Tensor, laws: Sequence[Law], silent: Sequence[int] = ()) -> list[int]:
    """The next token of each row: the argmax, or a sample of softmax(logits / temperature) cut to ``top_p``.

    ``silent`` tokens are never said. Sampling inverts the cumulative distribution in float64 in the vocabulary's order.
    """
    if silent:
        logits_NV = logits_NV.clone()
        logits_NV[:, list(silent)] = -torch.inf
    tokens: list[int] = logits_NV.argmax(-1).tolist()
    hot = [row for row, law in enumerate(laws) if law.temperature > 0]
    if hot:
        drawn = _sample(logits_NV[hot].double(), [laws[row] for row in hot])
        for row, token in zip(hot, drawn, strict=True):
            tokens[row] = token
    return tokens


def likeliest(logits_NV: torch.Tensor, counts: Sequence[int], silent: Sequence[int] = ()) -> list[Ranked]:
    """Of each row its ``counts`` likeliest tokens as (id, ln p), the likeliest first, equals in order of their ids.

    p is softmax(logits) in float32, without temperature, without ``silent`` tokens. Rows that want none cost nothing;
    what is not finite (a token that cannot be said, the logits of a broken model) is left out.
    """
    found: list[Ranked] = [[] for _ in counts]
    rows = [row for row, count in enumerate(counts) if count]
    if not rows:
        return found
    logits_WV = logits_NV[rows].float()  # a copy
    logits_WV[:, list(silent)] = -torch.inf
    logprobs_WK, ids_WK = logits_WV.log_softmax(-1).topk(min(_MOST, logits_WV.shape[1]), dim=-1)
    for row, logprobs, ids in zip(rows, logprobs_WK.tolist(), ids_WK.tolist(), strict=True):
        finite = [(token, logprob) for token, logprob in zip(ids, logprobs, strict=True) if math.isfinite(logprob)]
        found[row] = sorted(finite, key=lambda pair: (-pair[1], pair[0]))[: counts[row]]
    return found


def _sample(logits_HV: torch.Tensor, laws: Sequence[Law]) -> list[int]:
    heat_H1 = _column([law.temperature for law in laws], logits_HV)
    probs_HV = ((logits_HV - logits_HV.amax(-1, keepdim=True)) / heat_H1).softmax(-1)
    if any(law.top_p < 1 for law in laws):
        nucleus_H1 = _column([law.top_p for law in laws], logits_HV)
        sorted_HV, order_HV = probs_HV.sort(dim=-1, descending=True)
        beyond_HV = sorted_HV.cumsum(-1) - sorted_HV >= nucleus_H1
        beyond_HV[:, 0] = False
        probs_HV = probs_HV.masked_fill(torch.zeros_like(beyond_HV).scatter(-1, order_HV, beyond_HV), 0.0)
    cdf_HV = probs_HV.cumsum(-1)
    draws_H1 = _column([law.draws.random() for law in laws], cdf_HV) * cdf_HV[:, -1:]
    drawn: list[int] = torch.searchsorted(cdf_HV, draws_H1, right=True).clamp_(max=cdf_HV.shape[1] - 1)[:, 0].tolist()
    return drawn


def _column(values: list[float], like_HV: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like_HV.device)[:, None]
