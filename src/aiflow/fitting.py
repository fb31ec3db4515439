"""The training loop: steps, schedule, optimisers, checkpoints that continue exactly where a killed run stopped.

Knows neither data nor loss: a batch says how many tokens it has, and the caller computes the gradients.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from aiflow.errors import TrainingError

PATIENCE = 20
"""Steps in a row without finite gradients after which a training is given up."""
Progress = Callable[[str, int, int, float], None]
"""Stage, step, steps, mean loss since the last call."""


class Counted(Protocol):
    """A batch of training data."""

    @property
    def tokens(self) -> int:
        """How many tokens it has."""


B = TypeVar("B", bound=Counted)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast one stage learns: ``lr`` for AdamW, ``muon_lr`` for hidden matrices (0: AdamW for all).

    ``ema``: decay of the moving average that the model ends with; 0: the last weights.
    """

    steps: int
    lr: float
    muon_lr: float = 0.0
    warmup: int = 50
    decay: float = 0.5
    batch_tokens: int = 4096
    every: int = 200
    ema: float = 0.0


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
    data: Callable[[int], Iterator[B]],
    recipe: Recipe,
    backward: Callable[[Any, B], float],
    *,
    stage: str,
    checkpoint: Path,
    resume: bool = True,
    progress: Progress | None = None,
    stop: int | None = None,
) -> dict[str, Any]:
    """Trains what requires gradients, in place, and returns {"step", "tokens", "seconds", "skipped"}.

    A step whose gradients are not finite (in half precision one in some thousands may overflow) changes nothing and is
    counted as skipped; after `PATIENCE` of them in a row TrainingError is raised.

    Args:
        model: the module; its trainable parameters are what a checkpoint holds.
        data: the batches from a step on; must give the same ones for the same step.
        recipe: steps, rates and schedule.
        backward: computes the loss of a batch, accumulates its gradients, and returns the loss.
        stage: name for ``progress``.
        checkpoint: file that is written every ``recipe.every`` steps.
        resume: continue from the checkpoint if it is there.
        progress: called at every checkpoint.
        stop: ends early, as a kill would.
    """
    opts = optimisers(model, recipe)
    state: dict[str, Any] = {"step": 0, "tokens": 0, "seconds": 0.0, "skipped": 0}
    average = _copy(model) if recipe.ema else {}
    if resume and checkpoint.exists():
        state = _load(checkpoint, model, opts, average)
    peaks = [o.param_groups[0]["lr"] for o in optimisers(model, recipe)]
    batches, begun = data(int(state["step"])), time.monotonic()
    losses: list[float] = []
    bad = 0
    for step in range(int(state["step"]), min(recipe.steps, stop or recipe.steps)):
        for opt, peak in zip(opts, peaks, strict=True):
            opt.param_groups[0]["lr"] = peak * scale(step, recipe)
        batch = next(batches)
        losses.append(backward(model, batch))
        norm = nn.utils.clip_grad_norm_([p for o in opts for p in o.param_groups[0]["params"]], 1.0)
        bad = 0 if torch.isfinite(norm) else bad + 1
        if bad == PATIENCE:
            raise TrainingError(
                f"{stage}: no finite gradients since step {step + 2 - bad} (loss {losses[-1]:.3g}); lower lr "
                f"({recipe.lr:g}) or muon_lr ({recipe.muon_lr:g}), and see that the data are finite."
            )
        for opt in opts:
            if not bad:
                opt.step()
            opt.zero_grad()
        if bad:
            losses.pop()
        else:
            _follow(average, model, min(recipe.ema, (step + 1) / (step + 10)))  # early weights are soon forgotten
        state |= {"step": step + 1, "tokens": state["tokens"] + batch.tokens, "skipped": state["skipped"] + bool(bad)}
        if (step + 1) % recipe.every == 0 or step + 1 == min(recipe.steps, stop or recipe.steps):
            state["seconds"], begun = state["seconds"] + time.monotonic() - begun, time.monotonic()
            _save(checkpoint, model, opts, state, average)
            if progress:
                progress(stage, step + 1, recipe.steps, sum(losses) / max(1, len(losses)))
            losses.clear()
    if average:
        _put(model, average)
    return state


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in _trainable(model).items()}


def _put(model: nn.Module, values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in _trainable(model).items():
            parameter.copy_(values[name])


def _follow(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    if average:
        now = _trainable(model)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), [now[name] for name in average], 1 - decay)


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def _save(
    path: Path, model: Any, opts: list[torch.optim.Optimizer], state: dict[str, Any], average: dict[str, Tensor]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    saved = {"model": _trainable(model), "opts": [o.state_dict() for o in opts], "state": json.dumps(state)}
    torch.save(saved | {"average": average}, part)
    part.replace(path)


def _load(path: Path, model: Any, opts: list[torch.optim.Optimizer], average: dict[str, Tensor]) -> dict[str, Any]:
    saved = torch.load(path, weights_only=True)
    _put(model, saved["model"])
    average.update({name: saved["average"][name] for name in average})
    for opt, values in zip(opts, saved["opts"], strict=True):
        opt.load_state_dict(values)
    return {"skipped": 0} | dict(json.loads(saved["state"]))
