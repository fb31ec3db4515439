"""Stages: what is complete is kept, what was cut off goes on, and both give the same weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aiflow.diffusion import training
from aiflow.diffusion.training import Context, Stage
from aiflow.errors import UsageError
from aiflow.fitting import Recipe, fit

RECIPE = Recipe(steps=12, lr=0.05, warmup=1, every=4, ema=0.9)


class Batch:
    tokens = 4

    def __init__(self, step: int) -> None:
        torch.manual_seed(step)
        self.x = torch.randn(4, 3)


def batches(start: int) -> Iterator[Batch]:
    step = start
    while True:
        yield Batch(step)
        step += 1


def backward(model: nn.Module, batch: Batch) -> float:
    loss = (model(batch.x) - batch.x.sum(1, keepdim=True)).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def line() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 1)


def fitted(folder: Path, recipe: Recipe = RECIPE, cut: int | None = None) -> torch.Tensor:
    model = line()
    if cut:
        fit(model, batches, recipe, backward, stage="a", checkpoint=folder / "a.pt", stop=cut)
        model = line()
    fit(model, batches, recipe, backward, stage="a", checkpoint=folder / "a.pt")
    return model.weight.detach()


def test_the_average_survives_a_cut(tmp_path: Path) -> None:
    whole, cut = fitted(tmp_path / "1"), fitted(tmp_path / "2", cut=7)
    assert torch.equal(whole, cut)


def test_the_average_is_not_the_last_weights(tmp_path: Path) -> None:
    from dataclasses import replace

    averaged, last = fitted(tmp_path / "1"), fitted(tmp_path / "2", replace(RECIPE, ema=0.0))
    assert not torch.allclose(averaged, last)
    assert torch.allclose(averaged, last, atol=1.0)


def _stages(calls: list[str]) -> dict[str, Stage]:
    def run(context: Context) -> dict[str, Any]:
        calls.append(context.stage)
        model = line()
        context.fit(model, batches, backward)
        torch.save(model.state_dict(), context.folder / "model.pt")
        return {"parameters": 4}

    return {
        "base": Stage(recipe=RECIPE, run=run),
        "more": Stage(recipe=RECIPE, run=run, needs=("base",)),
        "baseline": Stage(recipe=RECIPE, run=run, needs=("base",), ships=False),
    }


def test_needs_come_first_and_complete_stages_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(training, "stages", lambda _: _stages(calls))
    training.train("motion", tmp_path, only=["more"])
    assert calls == ["base", "more"]
    training.train("motion", tmp_path)
    assert calls == ["base", "more"]
    training.train("motion", tmp_path, only=["baseline"])
    assert calls == ["base", "more", "baseline"]
    said = json.loads((tmp_path / "more" / "training.json").read_text())
    assert (said["seed"], said["steps"], said["parameters"]) == (0, 12, 4)
    training.train("motion", tmp_path, seed=1, only=["base"], resume=False)
    assert calls[3:] == ["base"]


def test_bad_wishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="'moton' is none of the systems; did you mean 'motion'"):
        training.train("moton", tmp_path)
    monkeypatch.setattr(training, "stages", lambda _: _stages([]))
    with pytest.raises(UsageError, match="'bas' is no stage"):
        training.train("motion", tmp_path, only=["bas"])
    with pytest.raises(UsageError, match="above 0"):
        training.train("motion", tmp_path, scale=0)
