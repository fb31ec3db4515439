"""Training steps: losses fall, a stopped run goes on exactly, REC's estimates repeat, what ships is complete."""

from pathlib import Path

import numpy as np
import pytest
import torch

from aiflow.diffusion.motion import data, interleave, learning, metrics, train
from aiflow.diffusion.motion.coordinating import coordinator_data, coordinator_step, disagreeing, estimates
from aiflow.diffusion.motion.learning import COMPOSER, COORDINATOR, JOINT, Corpus, Learner
from aiflow.diffusion.motion.model import Coordinator, MotionTransformer
from aiflow.diffusion.words import WordEncoder
from aiflow.errors import UsageError
from aiflow.fitting import Recipe, fit

from .tiny import shake


@pytest.fixture(scope="module")
def packs() -> tuple[data.Pack, data.Pack]:
    solo, pair = data.solos(60), data.pairs(20)
    sequences = data.sequences(solo, pair, 24)
    assert interleave.recordings(solo, pair).pairs
    return data.pack(sequences), data.pack(data.placed(solo, pair, 24), frames=train.SOLO_FRAMES)


def learner(packs: tuple[data.Pack, data.Pack], persons: int = 1) -> Learner:
    torch.manual_seed(0)
    net = MotionTransformer(width=32, layers=1, heads=2, text=16, persons=persons)
    net.set_statistics(*data.statistics([packs[0]]))
    return Learner(net, WordEncoder(len(train.tokenizer()), 16, 1, 2))


def corpora(packs: tuple[data.Pack, data.Pack]) -> list[tuple[Corpus, int]]:
    return [(Corpus(packs[0], train.tokenizer(), 8), 2), (Corpus(packs[1], train.tokenizer(), 8), 1)]


@pytest.mark.parametrize(("persons", "weights"), [(1, COMPOSER), (2, JOINT)])
def test_a_composer_learns(
    packs: tuple[data.Pack, data.Pack], persons: int, weights: learning.Weights, tmp_path: Path
) -> None:
    model, losses = learner(packs, persons), []
    step = learning.denoising(weights)
    recipe = Recipe(steps=24, lr=3e-3, warmup=4, every=100)
    fit(
        model,
        learning.alternating(corpora(packs), 0),
        recipe,
        lambda m, b: losses.append(step(m, b)) or losses[-1],
        stage="ins",
        checkpoint=tmp_path / "c.pt",
    )
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])


def test_a_stopped_run_goes_on_exactly(packs: tuple[data.Pack, data.Pack], tmp_path: Path) -> None:
    recipe = Recipe(steps=6, lr=1e-3, muon_lr=0.01, warmup=2, every=3, ema=0.9)
    found = []
    for name, stops in (("whole", [None]), ("parts", [3, None])):
        for stop in stops:
            model = learner(packs)
            fit(
                model,
                learning.alternating(corpora(packs), 0),
                recipe,
                learning.denoising(COMPOSER),
                stage="ins",
                checkpoint=tmp_path / f"{name}.pt",
                stop=stop,
            )
        found.append({k: v.clone() for k, v in model.state_dict().items()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("finished", [False, True])
def test_estimates_of_the_composer(packs: tuple[data.Pack, data.Pack], finished: bool) -> None:
    model = learner(packs)
    shake(model.net)
    batch = Corpus(packs[0], train.tokenizer(), 4).draw(0, 1)
    one, two = estimates(model, batch, finished), estimates(model, batch, finished)
    assert torch.equal(one.estimate_BPTC, two.estimate_BPTC)
    assert torch.isfinite(one.estimate_BPTC).all()
    assert one.estimate_BPTC[~batch.clean.mask_N2T].abs().max() == 0
    assert one.noise_B.tolist() == ([0] * 4 if finished else (batch.t_B + 1).tolist())


def test_disagreement_is_about_what_is_shared() -> None:
    clips = [clip for clip in data.scenes("validation", 40) if clip.kinds[0] == "solo" and clip.touches]
    pack = data.pack(clips)
    apart = disagreeing(pack.u_N2TC, pack.cue_NTC, torch.Generator().manual_seed(0))
    joints = [apart[i, :, : c.frames, :66].reshape(2, c.frames, 22, 3).numpy() for i, c in enumerate(clips)]
    found = metrics.checks(joints, [c.touches for c in clips], [c.starts for c in clips])
    assert np.nanmean(found.gap_N) > 0.15
    assert found.bone_N.max() < 0.02
    for row, clip in enumerate(clips):
        assert (apart[row, :, : clip.starts[1]] - pack.u_N2TC[row, :, : clip.starts[1], :])[..., :66].abs().max() < 1e-5
    moved = apart[..., :66][:, :, 1:] - apart[..., :66][:, :, :-1]
    inside = pack.mask_N2T[:, :, 1:] & pack.mask_N2T[:, :, :-1]
    assert (moved - apart[:, :, :-1, 66:132])[inside].abs().max() < 1e-4


def test_rec_learns(packs: tuple[data.Pack, data.Pack], tmp_path: Path) -> None:
    model, losses = learner(packs), []
    rec = Coordinator(width=32, layers=1, heads=2, text=16, mutual=True)
    rec.set_statistics(model.net.mean_C, model.net.std_C)
    step = coordinator_step(COORDINATOR)
    fit(
        rec,
        coordinator_data(model.requires_grad_(False), Corpus(packs[0], train.tokenizer(), 8), 0),
        Recipe(steps=20, lr=3e-3, warmup=2, every=100),
        lambda m, b: losses.append(step(m, b)) or losses[-1],
        stage="rec",
        checkpoint=tmp_path / "c.pt",
    )
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


def test_stages_name_what_they_need() -> None:
    for stage in train.STAGES.values():
        assert all(need in train.STAGES for need in stage.needs)
    assert [name for name, stage in train.STAGES.items() if stage.ships] == ["evaluator", "ins", "rec"]


def test_shipping_needs_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ins"):
        train.ship(tmp_path, tmp_path / "weights")
