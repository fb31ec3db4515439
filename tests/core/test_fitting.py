"""The training loop where gradients are not finite: such a step changes nothing, and a run of them ends it."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from aiflow.errors import TrainingError
from aiflow.fitting import PATIENCE, Recipe, fit


@dataclass
class Batch:
    step: int
    tokens: int = 1


def batches(step):
    while True:
        yield Batch(step)
        step += 1


def descent(bad):
    """A loss whose gradient is infinite at the ``bad`` steps."""

    def backward(model, batch):
        loss = (model(torch.ones(1, 2)) ** 2).sum() * (float("inf") if batch.step in bad else 1.0)
        loss.backward()
        return float(loss.detach())

    return backward


def trained(tmp_path, bad, steps=40):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    told = []
    recipe = Recipe(steps=steps, lr=0.1, warmup=1, every=10, ema=0.5)
    state = fit(
        model,
        batches,
        recipe,
        descent(bad),
        stage="line",
        checkpoint=tmp_path / "line.pt",
        progress=lambda *said: told.append(said),
    )
    return model, state, told


def test_a_step_without_finite_gradients_is_skipped_and_counted(tmp_path):
    model, state, told = trained(tmp_path, {7, 8, 20})
    assert state["skipped"] == 3
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert float((model(torch.ones(1, 2)) ** 2).detach()) < 1e-2
    assert all(torch.isfinite(torch.tensor(loss)) for *_, loss in told)


def test_a_training_that_has_diverged_ends(tmp_path):
    with pytest.raises(TrainingError, match=r"line: no finite gradients since step 6 .*lower lr \(0.1\)"):
        trained(tmp_path, set(range(5, 5 + PATIENCE)))
    assert trained(tmp_path, set(range(5, 4 + PATIENCE)))[1]["skipped"] == PATIENCE - 1
