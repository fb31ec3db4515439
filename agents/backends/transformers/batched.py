"""Continuous batching: newcomers are prefilled together and join the running batch, leavers free their row at once.

N: running rows; G: prompts of one prefill; T: times; V: vocabulary. Source: Orca (OSDI 2022).
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from aiflow.agents.backends.transformers.cache import RaggedCache
from aiflow.agents.backends.transformers.loading import Loaded
from aiflow.agents.backends.transformers.outbox import Outbox
from aiflow.agents.backends.transformers.requests import Request
from aiflow.agents.backends.transformers.sampling import Ranked, choose, likeliest
from aiflow.errors import BackendError

_WASTE = 32  # padding tokens that one prefill may compute; more would cost more than another forward pass
_VISION = ("llava", "llava_next", "llava_onevision", "vipllava")  # images enter as embeddings of ordinary positions
_ARGUMENTS = {"position_ids", "logits_to_keep", "past_key_values"}


def can_batch(model: Any) -> bool:
    """Whether rows of different lengths may share this model's forward passes.

    They may if every layer caches plain keys and values, positions are explicit, and rotary angles do not depend on
    the longest row.
    """
    text = model.config.get_text_config(decoder=True)
    rope = str(getattr(text, "rope_parameters", None))
    plain = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
    seeing = getattr(model.config, "vision_config", None) is not None
    return (
        plain
        and inspect.signature(model.forward).parameters.keys() >= _ARGUMENTS
        and not getattr(model, "_is_stateful", False)
        and not any(word in rope for word in ("'dynamic'", "'longrope'", "mrope"))
        and (not seeing or model.config.model_type in _VISION)
    )


def groups(fresh: list[Request]) -> list[list[Request]]:
    """Splits newcomers into prefills of similar length; a request with pixel values goes alone."""
    made: list[list[Request]] = []
    waste = 0
    for request in sorted(fresh, key=lambda r: (-len(r.prompt.ids), r.prompt.ids)):
        padding = len(made[-1][0].prompt.ids) - len(request.prompt.ids) if made else 0
        padding *= not made or made[-1][-1].prompt.ids != request.prompt.ids
        if not made or request.prompt.extra or made[-1][0].prompt.extra or waste + padding > _WASTE:
            made.append([request])
            waste = 0
        else:
            made[-1].append(request)
            waste += padding
    return made


class Batched:
    """Up to ``max_batch`` rows that share each forward pass."""

    def __init__(self, loaded: Loaded, max_batch: int) -> None:
        self._model, self._silent, self._max = loaded.model, loaded.silent, max_batch
        self.reset()

    @property
    def room(self) -> int:
        """Free rows."""
        return self._max - len(self._rows)

    @property
    def busy(self) -> bool:
        """Whether any row runs."""
        return bool(self._rows)

    def reset(self) -> None:
        """Forgets all rows and their cache."""
        self._rows: list[Request] = []
        self._cache = RaggedCache()

    def admit(self, fresh: list[Request], outbox: Outbox) -> None:
        """Prefills newcomers (equal prompts once), writes their first tokens and joins them to the batch."""
        for group in groups(fresh):
            cache = DynamicCache()
            distinct = list(dict.fromkeys(tuple(r.prompt.ids) for r in group))
            places = [distinct.index(tuple(r.prompt.ids)) for r in group]
            try:
                logits_GV = self._prefill(distinct, group[0].prompt.extra, cache)
                said = self._choose(logits_GV[places], group)
            except Exception as error:  # noqa: BLE001 - the rows that run are untouched and go on
                for request in group:
                    outbox.end(request, BackendError(f"the model failed: {type(error).__name__}: {error}"))
                continue
            for request, (token, ranked) in zip(group, said, strict=True):
                outbox.token(request, token, ranked)
            stay = [(request, place) for request, place in zip(group, places, strict=True) if not request.finish]
            self._cache.join(cache, [(place, len(request.prompt.ids)) for request, place in stay])
            self._rows += [request for request, _ in stay]

    def step(self, outbox: Outbox) -> None:
        """One token for every row, after the rows of callers who have gone are freed."""
        for row in reversed(range(len(self._rows))):
            if self._rows[row].cancelled:
                self._leave(row)
        if not self._rows:
            return
        said = self._choose(self._forward(), self._rows)
        for request, (token, ranked) in zip(self._rows, said, strict=True):
            outbox.token(request, token, ranked)
        for row in reversed(range(len(self._rows))):
            if self._rows[row].finish:
                self._leave(row)

    def _choose(self, logits_NV: torch.Tensor, rows: list[Request]) -> list[tuple[int, Ranked]]:
        tokens = choose(logits_NV, [r.law for r in rows], self._silent)
        ranked = likeliest(logits_NV, [r.options.top_logprobs for r in rows], self._silent)
        return list(zip(tokens, ranked, strict=True))

    def _leave(self, row: int) -> None:
        self._cache.leave(row)
        self._rows[row] = self._rows[-1]
        self._rows.pop()

    def _prefill(self, prompts: list[tuple[int, ...]], extra: Mapping[str, Any], cache: DynamicCache) -> torch.Tensor:
        """Left-padded first pass; returns the logits (G, V) after each prompt."""
        width, device = max(map(len, prompts)), self._model.device
        ids_GT = torch.tensor([(0,) * (width - len(p)) + p for p in prompts], device=device)
        length_G1 = torch.tensor([[len(p)] for p in prompts], device=device)
        position_GT = torch.arange(width, device=device) - (width - length_G1)
        padded = any(len(p) < width for p in prompts)
        out = self._model(
            input_ids=ids_GT,
            attention_mask=position_GT >= 0 if padded else None,
            position_ids=position_GT.clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **{name: value.to(device) if hasattr(value, "to") else value for name, value in extra.items()},
        )
        logits_GV: torch.Tensor = out.logits[:, -1]
        return logits_GV

    def _forward(self) -> torch.Tensor:
        """One token per row; returns the logits (N, V)."""
        length_N = self._cache.open()
        device, rows = self._model.device, self._cache.rows
        ragged = min(rows.lengths) < rows.longest
        mask_NT = torch.arange(rows.longest + 1, device=device) <= length_N[:, None] if ragged else None
        out = self._model(
            input_ids=torch.tensor([[r.token] for r in self._rows], device=device),
            attention_mask=mask_NT,
            position_ids=length_N[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache.commit()
        logits_NV: torch.Tensor = out.logits[:, -1]
        return logits_NV
