"""What the diffusion models learn from: roles, the loss, batches that follow from (seed, step), and the stages."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from aiflow.diffusion.files import load
from aiflow.diffusion.training import ship, train
from aiflow.diffusion.video import train as stages
from aiflow.diffusion.video import train_omni
from aiflow.diffusion.video.data import MODALITIES, generate
from aiflow.diffusion.video.judges import load_judges
from aiflow.diffusion.video.model import CONDITION, GENERATE, IDLE, TEXT_TOKENS, tiny
from aiflow.diffusion.video.party import load_party
from aiflow.diffusion.video.sampling import default_scheduler
from aiflow.diffusion.words import WordEncoder, word_tokenizer
from aiflow.errors import WeightsError


def test_every_set_of_conditions_is_learned_and_something_is_always_generated() -> None:
    roles = train_omni.mixed_roles(np.random.default_rng(0), 4000, 4)
    assert ((roles == GENERATE).sum(1) > 0).all()
    assert len(np.unique(roles == CONDITION, axis=0)) == 15  # all sets but the full one
    assert (roles != CONDITION).all(1).mean() == pytest.approx(0.2 + 0.25 / 4, abs=0.03)
    assert ((roles == CONDITION).sum(1) == 1).mean() == pytest.approx(0.55 + 0.25 / 4, abs=0.03)
    assert 0.05 < (roles == IDLE).any(1).mean() < 0.25


@pytest.fixture(scope="module")
def trainee() -> train_omni.Trainee:
    torch.manual_seed(0)
    tokenizer = word_tokenizer(("a", "red", "circle"), TEXT_TOKENS)
    return train_omni.Trainee(tiny(MODALITIES, width=64, layers=1), WordEncoder(len(tokenizer), 64, layers=1, heads=2))


def batches(seed: int = 0) -> Callable[[int], Iterator[train_omni.Batch]]:
    latents = torch.randn(10, 4, 64, 4, 4, generator=torch.Generator().manual_seed(5))
    words = torch.ones(10, TEXT_TOKENS, dtype=torch.long), torch.ones(10, TEXT_TOKENS, dtype=torch.bool)
    return train_omni.batches(latents, words, 6, seed, train_omni.mixed_roles, 4)


def test_batches_follow_from_seed_and_step() -> None:
    start = batches()(0)
    third = [next(start) for _ in range(3)][2]
    again = next(batches()(2))
    assert all(torch.equal(getattr(third, n), getattr(again, n)) for n in vars(third))
    assert not torch.equal(next(batches(1)(2)).noise_BFCHW, third.noise_BFCHW)


@torch.no_grad()
def test_the_loss_is_over_what_is_generated(trainee: train_omni.Trainee) -> None:
    """With heads of zero the loss is the mean square of v over what is generated, and of nothing else."""
    for head in trainee.transformer.heads.values():
        torch.nn.init.zeros_(head.proj_out.bias)
    alphas = default_scheduler().alphas_cumprod.float()
    batch = next(batches()(0))
    expected = []
    for b in range(6):
        abar = alphas[batch.timestep_B[b]]
        v = abar.sqrt() * batch.noise_BFCHW[b] - (1 - abar).sqrt() * batch.x0_BFCHW[b]
        each = (v**2).unflatten(1, (4, 16)).mean((0, 2, 3, 4))
        expected.append(each[batch.roles_BM[b] == GENERATE].mean())
    found = train_omni.loss(trainee, batch, alphas, autocast=False)
    assert float(found) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)


def test_the_loss_is_that_of_x0_weighted_by_its_noise() -> None:
    """1 / (1 - abar) |x0_hat - x0|^2 and plain v are the same number."""
    alphas = default_scheduler().alphas_cumprod.double()
    rng = torch.Generator().manual_seed(0)
    x0, eps, guess = (torch.randn(5, generator=rng, dtype=torch.float64) for _ in range(3))
    for t in (10, 500, 990):
        a = alphas[t]
        x = a.sqrt() * x0 + (1 - a).sqrt() * eps
        v = a.sqrt() * eps - (1 - a).sqrt() * x0
        estimate = a.sqrt() * x - (1 - a).sqrt() * guess
        assert torch.allclose((estimate - x0) ** 2 / (1 - a), (guess - v) ** 2)


def test_all_noise_is_nothing_but_noise() -> None:
    assert float(default_scheduler().alphas_cumprod[-1]) == 0


def test_stages_train_resume_and_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of everything: what is shipped is loaded as a pipeline, by its parts, and with its judges."""
    monkeypatch.setitem(stages.__dict__, "generate", lambda split, *_, **__: generate(split, 60))
    stages._clips.cache_clear()
    monkeypatch.setattr(stages, "_clips", lambda: generate("train", 60))
    out = tmp_path / "seed"
    train("video", out, seed=1, scale=0.002, progress=lambda *_: None)
    train("video", out, seed=1, scale=0.002, only=["dedicated_depth"], progress=lambda *_: None)
    before = (out / "omni" / "training.json").stat().st_mtime_ns
    train("video", out, seed=1, scale=0.002, progress=lambda *_: None)
    assert (out / "omni" / "training.json").stat().st_mtime_ns == before
    folder = tmp_path / "weights"
    ship("video", out, folder)
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 8e6
    pipe = load(folder)
    clips = generate("test", 1)
    made = pipe(clips.captions[0], conditions={"depth": clips.views["depth"]}, num_inference_steps=2)
    assert made.produced["model"] == load_party(folder, "rgb").model == load_party(folder, "backbone").model
    reader, view = load_judges(folder)
    with torch.no_grad():
        assert reader(made.videos["rgb"])["colour"].shape == (1, 5)
        assert view(made.videos["rgb"])["depth"].shape == (1, 8, 16, 16)
    dedicated = stages.pipeline(out, "dedicated_depth")
    assert set(dedicated.transformer.heads) == {"rgb"}
    assert set(dedicated(clips.captions, conditions={"depth": clips.views["depth"]}, num_inference_steps=2).videos) == {
        "rgb",
        "depth",
    }
    (folder / "judges" / "view_reader" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match="judges"):
        load_judges(folder)


def test_baselines_share_the_budget() -> None:
    steps = {name: stage.recipe.steps for name, stage in stages.STAGES.items()}
    dedicated = [n for n in steps if n.startswith("dedicated")]
    assert sum(steps[n] for n in dedicated) == steps["omni"]
    assert all(not stages.STAGES[n].ships for n in steps if n.startswith(tuple(stages.RIVALS)))
    omni = stages.STAGES["omni"].recipe
    assert all(
        stages.STAGES[n].recipe.muon_lr == omni.muon_lr and stages.STAGES[n].recipe.lr == omni.lr for n in dedicated
    )
