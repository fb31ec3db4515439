"""The training loop: steps, schedule, optimisers, checkpoints that continue exactly where a killed run stopped."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aiflow.nano.batches import Batch

Progress = Callable[[str, int, int, float], None]
"""Stage, step, steps, mean loss since the last call."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast one stage learns: ``lr`` for AdamW, ``muon_lr`` for hidden matrices (0: AdamW for all)."""

    steps: int
    lr: float
    muon_lr: float = 0.0
    warmup: int = 50
    decay: float = 0.5
    batch_tokens: int = 4096
    every: int = 200


def loss_of(model: Any, batch: Batch) -> Tensor:
    """Weighted mean cross entropy; logits are computed only where a token counts."""
    weights = batch.weights[:, 1:]
    chosen = weights > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = _body(model)(input_ids=batch.ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(hidden[chosen])
    losses = nn.functional.cross_entropy(logits.float(), batch.ids[:, 1:][chosen], reduction="none")
    return (losses * weights[chosen]).sum() / weights[chosen].sum()


def _body(model: Any) -> Any:
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).model


def optimisers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices if the recipe says so, AdamW for the rest."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    hidden = [p for n, p in named if p.ndim == 2 and "embed" not in n and recipe.muon_lr]
    rest = [p for n, p in named if not any(p is h for h in hidden)]
    chosen: list[torch.optim.Optimizer] = []
    if rest:
        chosen.append(torch.optim.AdamW(rest, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True))
    if hidden:
        chosen.append(torch.optim.Muon(hidden, lr=recipe.muon_lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"))
    return chosen


def scale(step: int, recipe: Recipe) -> float:
    """Learning-rate factor: linear warm-up, plateau, cosine decay to 2 % over the last part."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    start = recipe.steps * (1 - recipe.decay)
    if step < start:
        return 1.0
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - start) / max(1.0, recipe.steps - start)))


def fit(
    model: Any,
    data: Callable[[int], Iterator[Batch]],
    recipe: Recipe,
    *,
    stage: str,
    checkpoint: Path,
    resume: bool = True,
    progress: Progress | None = None,
    stop: int | None = None,
) -> dict[str, float]:
    """Trains in place and returns {"steps", "tokens", "seconds"}; ``stop`` ends early, as a kill would."""
    opts = optimisers(model, recipe)
    state = {"step": 0, "tokens": 0, "seconds": 0.0}
    if resume and checkpoint.exists():
        state = _load(checkpoint, model, opts)
    peaks = [o.param_groups[0]["lr"] for o in optimisers(model, recipe)]
    batches, begun = data(int(state["step"])), time.monotonic()
    losses: list[float] = []
    for step in range(int(state["step"]), min(recipe.steps, stop or recipe.steps)):
        for opt, peak in zip(opts, peaks, strict=True):
            opt.param_groups[0]["lr"] = peak * scale(step, recipe)
        batch = next(batches)
        loss = loss_of(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for o in opts for p in o.param_groups[0]["params"]], 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad()
        losses.append(loss.item())
        state = {"step": step + 1, "tokens": int(state["tokens"]) + batch.tokens, "seconds": state["seconds"]}
        if (step + 1) % recipe.every == 0 or step + 1 == min(recipe.steps, stop or recipe.steps):
            state["seconds"], begun = state["seconds"] + time.monotonic() - begun, time.monotonic()
            _save(checkpoint, model, opts, state)
            if progress:
                progress(stage, step + 1, recipe.steps, sum(losses) / len(losses))
            losses.clear()
    return state


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def _save(path: Path, model: Any, opts: list[torch.optim.Optimizer], state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save({"model": _trainable(model), "opts": [o.state_dict() for o in opts], "state": json.dumps(state)}, part)
    part.replace(path)


def _load(path: Path, model: Any, opts: list[torch.optim.Optimizer]) -> dict[str, Any]:
    saved = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, parameter in _trainable(model).items():
            parameter.copy_(saved["model"][name])
    for opt, values in zip(opts, saved["opts"], strict=True):
        opt.load_state_dict(values)
    return dict(json.loads(saved["state"]))
