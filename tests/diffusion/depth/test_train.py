"""Losses, recipes and the shipped weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aiflow.diffusion import training
from aiflow.diffusion.depth import data, losses, train
from aiflow.diffusion.depth.metrics import PROTOCOLS, score
from aiflow.diffusion.depth.representation import Taper
from aiflow.diffusion.depth.scenes import scenes
from aiflow.diffusion.files import WEIGHTS, fingerprint, load

BEST = losses.Weights()


def total(z_near: Any, logit: Any, z_far: Any, depth: Any, anchor: float = 10.0) -> float:
    maps = [torch.full((1, 2, 2), float(x)) for x in (z_near, logit, z_far)]
    return float(
        losses.near_far(*maps, torch.as_tensor(depth).float().expand(1, 2, 2), torch.tensor([anchor]), Taper(), BEST)
    )


def test_the_truth_costs_nothing() -> None:
    assert total(np.log(4), 30, np.log(4), 4.0) == pytest.approx(0, abs=1e-6)
    assert total(np.log(40), -30, np.log(40), 40.0) == pytest.approx(0, abs=1e-6)


def test_each_mistake_costs() -> None:
    assert total(np.log(5), 30, np.log(4), 4.0) > 0.1
    assert total(np.log(4), -30, np.log(4), 4.0) > 1  # the wrong side
    assert total(np.log(40), -30, np.log(20), 40.0) > 0.1


def test_sky_is_far_and_infinite() -> None:
    sky = float("inf")
    assert total(np.log(4), -30, np.log(1000), sky) == pytest.approx(0, abs=1e-6)
    assert total(np.log(4), -30, np.log(12), sky) > 0.05
    assert total(np.log(4), 30, np.log(1000), sky) > 1


def test_what_has_no_label_teaches_only_its_side() -> None:
    assert total(np.log(3), -30, np.log(50), 150.0) == pytest.approx(0, abs=1e-6)
    assert losses.single(torch.zeros(1, 2, 2), torch.full((1, 2, 2), 150.0)).item() == 0


def test_anchors_are_drawn_by_seed_and_step() -> None:
    batch = next(data.batches(3, seed=0, size=8, count=8))
    first = train.draw_anchors(batch, 1)
    assert first.equal(train.draw_anchors(batch, 1))
    assert not first.equal(train.draw_anchors(batch, 2))
    assert ((first > 1.5) & (first < 100)).all()


@pytest.mark.parametrize("stage", ["near_far", "linear_caps", "bins"])
def test_a_stage_trains_repeatably(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "batches", lambda step, seed: data.batches(step, seed=seed, size=2, count=8))
    told: list[float] = []
    for out in (tmp_path / "a", tmp_path / "b"):
        training.train("depth", out, only=[stage], scale=0.003, progress=lambda *said: told.append(said[3]))
    parts = sorted(path.parent.name for path in (tmp_path / "a" / stage).glob("*/config.json"))
    assert parts == (["encoder", "far", "near"] if stage == "near_far" else ["decoder", "encoder"])
    for part in parts:
        one, two = (next((tmp_path / x / stage / part).glob("*.safetensors")).read_bytes() for x in "ab")
        assert one == two
    assert np.isfinite(told).all()


def test_shipping_rounds_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "batches", lambda step, seed: data.batches(step, seed=seed, size=2, count=8))
    training.train("depth", tmp_path, only=["near_far"], scale=0.001, progress=lambda *_: None)
    train.ship(tmp_path, tmp_path / "weights")
    pipeline = load(tmp_path / "weights")
    assert pipeline.near.config.encoder == fingerprint(pipeline.encoder)
    assert next(pipeline.near.parameters()).dtype == torch.float32
    size = sum(file.stat().st_size for file in (tmp_path / "weights").rglob("*") if file.is_file())
    assert size < 8e6


def test_shipped_weights_measure_rooms_and_roads() -> None:
    """Held-out scenes: far better than a guess, with any branch pattern marked as it is."""
    pipeline = load(WEIGHTS / "depth")
    for kind, bar in (("indoor", 0.2), ("outdoor", 0.2)):
        found = scenes(kind, "test", 12)  # type: ignore[arg-type]
        errors = []
        for image, truth in zip(found.image_BHW3, found.depth_BHW, strict=True):
            one = score(pipeline(image, "pool").depth, truth, PROTOCOLS[kind])
            assert one is not None
            errors.append(one["abs_rel"])
        assert np.mean(errors) < bar
