"""From logits to the distribution that a position is drawn from: the same processors, in the same order, on all tiers.

Legend: T positions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aiflow.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Law:
    """Processors of one request, in the order of transformers: penalty, bans, temperature, top-k, top-p, min-p.

    Attributes:
        temperature: 0 is greedy: the processors before it still apply.
        top_k: most probable tokens to keep; 0 keeps all.
        top_p: the smallest set of most probable tokens with at least this mass.
        min_p: tokens with less than this share of the largest probability are cut.
        penalty: logits of tokens that the history holds are divided by it if positive, multiplied if negative.
        banned: tokens that may never be said.
        vocabulary: ids from here on are padding of the model's head and may never be said; None: there are none.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    penalty: float = 1.0
    banned: tuple[int, ...] = ()
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "banned", tuple(self.banned))
        for name, good, rule in (
            ("temperature", 0 <= self.temperature <= 10, "a number of 0..10"),
            ("top_k", isinstance(self.top_k, int) and self.top_k >= 0, "a whole number from 0 on"),
            ("top_p", 0 < self.top_p <= 1, "a number in (0, 1]"),
            ("min_p", 0 <= self.min_p < 1, "a number in [0, 1)"),
            ("penalty", self.penalty > 0, "a number above 0"),
            ("banned", all(i >= 0 for i in self.banned), "token ids from 0 on"),
            ("vocabulary", self.vocabulary is None or self.vocabulary > 0, "a size above 0, or None"),
        ):
            if not good:
                raise InputError(f"{name}={getattr(self, name)!r} is not usable; give {rule}.")

    def argmax(self, logits_TV: Tensor, tokens: Sequence[int], start: int) -> list[int]:
        """The greedy token of each row; the lowest id of equals. Row t follows ``tokens[: start + t]``."""
        ids: list[int] = self._masked(logits_TV, tokens, start).argmax(-1).tolist()
        return ids

    def log_probs(self, logits_TV: Tensor, tokens: Sequence[int], start: int) -> NDArray[np.float64]:
        """Log probabilities (T, V); float64, -inf where the law gives nothing. The temperature must be above 0."""
        rows = self._masked(logits_TV, tokens, start).double() / self.temperature
        if self.top_k and self.top_k < rows.shape[1]:
            least = rows.topk(self.top_k, dim=-1).values[:, -1:]
            rows = rows.masked_fill(rows < least, -torch.inf)
        logp = rows.log_softmax(-1)
        if self.top_p < 1:
            ordered, order = logp.sort(dim=-1, descending=True, stable=True)
            mass = ordered.exp()
            beyond = mass.cumsum(-1) - mass >= self.top_p
            logp = logp.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
        if self.min_p > 0:
            logp = logp.masked_fill(logp < logp.amax(-1, keepdim=True) + float(np.log(self.min_p)), -torch.inf)
        found: NDArray[np.float64] = logp.log_softmax(-1).numpy()
        return found

    def _masked(self, logits_TV: Tensor, tokens: Sequence[int], start: int) -> Tensor:
        rows = logits_TV.detach().cpu()
        if self.vocabulary is not None:
            rows = rows[:, : self.vocabulary]
        if self.penalty != 1:
            rows = torch.stack([self._penalised(row, tokens[: start + t]) for t, row in enumerate(rows)])
        if banned := [i for i in self.banned if i < rows.shape[1]]:
            rows = rows.clone()
            rows[:, banned] = -torch.inf
        return rows

    def _penalised(self, row_V: Tensor, history: Sequence[int]) -> Tensor:
        said = torch.tensor(sorted({t for t in history if t < len(row_V)}), dtype=torch.long)
        there = row_V[said]
        return row_V.index_copy(0, said, torch.where(there > 0, there / self.penalty, there * self.penalty))
