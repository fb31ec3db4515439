"""One request at a time through ``model.generate``: for models whose caches cannot be batched row by row.

The choice of tokens, the stops and the text are the same code as in ``batched``; only the forward passes differ.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria

from aiflow.agents.backends.transformers.loading import Loaded
from aiflow.agents.backends.transformers.outbox import Outbox
from aiflow.agents.backends.transformers.requests import Request
from aiflow.agents.backends.transformers.sampling import Ranked, choose, likeliest
from aiflow.errors import BackendError


class Single:
    """Runs each admitted request to its end before the next."""

    def __init__(self, loaded: Loaded) -> None:
        self._model, self._silent = loaded.model, loaded.silent
        self._next: list[Request] = []

    @property
    def room(self) -> int:
        """One, or none."""
        return 1 - len(self._next)

    @property
    def busy(self) -> bool:
        """Whether a request is admitted and not yet answered."""
        return bool(self._next)

    def reset(self) -> None:
        """Forgets the request."""
        self._next = []

    def admit(self, fresh: list[Request], outbox: Outbox) -> None:  # noqa: ARG002 - its text comes in step
        """Takes the request."""
        self._next += fresh

    def step(self, outbox: Outbox) -> None:
        """Writes the whole answer."""
        if not self._next:
            return
        request = self._next.pop()
        try:
            self._generate(request, outbox)
        except Exception as error:  # noqa: BLE001 - whatever a model raises is this request's alone
            outbox.end(request, BackendError(f"the model failed: {type(error).__name__}: {error}"))

    def _generate(self, request: Request, outbox: Outbox) -> None:
        device = self._model.device
        ids_1T = torch.tensor([request.prompt.ids], device=device)
        extra = {k: v.to(device) if hasattr(v, "to") else v for k, v in request.prompt.extra.items()}
        inputs = {"input_ids": ids_1T, "attention_mask": torch.ones_like(ids_1T), **extra}

        def write(token: int, ranked: Ranked) -> None:
            outbox.token(request, token, ranked)
            outbox.flush()

        generate(self._model, inputs, request, write, self._silent)


def generate(
    model: Any,
    inputs: Mapping[str, Any],
    request: Request,
    write: Callable[[int, Ranked], None],
    silent: tuple[int, ...],
) -> None:
    """Writes the whole answer of a request that has started; ``inputs`` are those of the model's first forward pass.

    ``write`` takes each new token and, where they are wanted, the likeliest ones at its place, and must hand both to
    the request. Ends early when the request is cancelled.
    """
    chooses = _Choose(request, silent)
    model.generate(
        max_new_tokens=request.limit,
        do_sample=False,
        logits_processor=[chooses],
        stopping_criteria=[_Write(request, lambda token: write(token, chooses.ranked))],
        **inputs,
    )
    if not (request.finish or request.cancelled):
        raise RuntimeError("model.generate ended before the answer did")


class _Choose(LogitsProcessor):  # type: ignore[misc]
    """Leaves only the token that the request's law chooses; ``ranked`` are the likeliest ones at that place."""

    def __init__(self, request: Request, silent: tuple[int, ...]) -> None:
        self._request, self._silent = request, silent
        self.ranked: Ranked = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        (token,) = choose(scores, [self._request.law], self._silent)
        (self.ranked,) = likeliest(scores, [self._request.options.top_logprobs], self._silent)
        only = torch.full_like(scores, -torch.inf)
        only[:, token] = 0.0
        return only


class _Write(StoppingCriteria):  # type: ignore[misc]
    """Writes each new token; stops at the answer's end or when its caller has gone."""

    def __init__(self, request: Request, write: Callable[[int], None]) -> None:
        self._request, self._write = request, write

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002
        request = self._request
        if not request.cancelled:
            self._write(int(input_ids[0, -1]))
        return torch.tensor([request.cancelled or request.finish is not None], device=input_ids.device)
