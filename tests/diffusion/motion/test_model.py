"""INS, the joint generator and REC: who sees whom, what masks hide, what a cue adds, geometry."""

import numpy as np
import pytest
import torch

from aiflow.diffusion.motion import data, features, model
from aiflow.diffusion.motion.model import Coordinator, MotionTransformer

from .tiny import pipeline, shake


def given(batch: int = 2, frames: int = 22) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(1)
    cue = data.cue(("solo", "interaction"), (0, 9), frames, frames).expand(batch, -1, -1)
    return (
        torch.randn(batch, 2, frames, 262, generator=g),
        torch.tensor([7, 300])[:batch],
        torch.randn(batch, 5, 16, generator=g),
        torch.randn(batch, 16, generator=g),
        torch.ones(batch, 5, dtype=torch.bool),
        torch.ones(batch, 2, frames, dtype=torch.bool),
        cue,
    )


@pytest.mark.parametrize("persons", [1, 2])
def test_who_sees_whom(persons: int) -> None:
    net = MotionTransformer(width=32, layers=2, heads=2, text=16, persons=persons)
    shake(net)
    x, *rest = given()
    other = x.clone()
    other[:, 1] += 1.0
    change = (net(x, *rest) - net(other, *rest)).abs().amax(dim=(0, 2, 3))
    assert change[1] > 1e-3
    assert (change[0] > 1e-4) == (persons == 2), "INS composes each person alone"


@pytest.mark.parametrize("mutual", [False, True])
def test_rec_begins_as_the_identity_and_couples_both(mutual: bool) -> None:
    rec = Coordinator(width=32, layers=1, heads=2, text=16, mutual=mutual)
    x, *rest = given()
    assert torch.equal(rec(x, *rest), x)
    shake(rec)
    for moved in (0, 1):
        other = x.clone()
        other[:, moved] += 1.0
        change = (rec(x, *rest) - x - rec(other, *rest) + other).abs().amax(dim=(0, 2, 3))
        assert change.min() > 1e-5


def test_masked_frames_change_nothing() -> None:
    x, t, states, summary, words, mask, cue = given(frames=24)
    mask[:, :, 18:] = False
    cue = cue.clone()
    cue[:, 18:] = 0
    for net in (pipeline().ins, pipeline().rec, pipeline(mutual=True).rec):
        other = x.clone()
        other[:, :, 18:] = 5.0
        out, again = net(x, t, states, summary, words, mask, cue), net(other, t, states, summary, words, mask, cue)
        assert torch.allclose(out[:, :, :18], again[:, :, :18], atol=1e-6)
        short = net(x[:, :, :18], t, states, summary, words, mask[:, :, :18], cue[:, :18])
        assert torch.allclose(out[:, :, :18], short, atol=1e-5)


def test_lengths_that_fill_no_token() -> None:
    net = pipeline().ins
    for frames in (16, 17, 18, 19, 23):
        x, *rest = given(frames=frames)
        assert net(x, *rest).shape == (2, 2, frames, 262)


def test_the_cue_matters_and_nothing_is_nothing() -> None:
    net = pipeline().ins
    x, *rest = given()
    *rest, cue = rest
    assert (net(x, *rest, cue) - net(x, *rest, None)).abs().max() > 1e-4
    assert torch.equal(net(x, *rest, torch.zeros_like(cue)), net(x, *rest, None))


def test_patches_come_back() -> None:
    x = torch.randn(2, 3, 10, 5)
    tokens = model.patched(x)
    assert tokens.shape == (2, 3, 3, 20)
    assert torch.equal(model.unpatched(tokens, 10), x)
    mask = torch.zeros(1, 10, dtype=torch.bool)
    assert model.token_mask(mask).all(), "a person who is not there attends to anything"
    mask[0, 9] = True
    assert model.token_mask(mask).tolist() == [[False, False, True]]


def test_geometry_knows_no_place_and_finds_touching_hands() -> None:
    pair = next(c for c in data.pairs(30) if c.touches and c.touches[0].joint_one == 20 == c.touches[0].joint_two)
    u = torch.from_numpy(pair.u_PT)[None]
    seen = model.geometry(u[:, 0], u[:, 1])
    moved = torch.from_numpy(features.moved(pair.u_PT, 1.1, np.array([2.0, 0.0, -3.0])))[None]
    assert torch.allclose(seen, model.geometry(moved[:, 0], moved[:, 1]), atol=1e-5)
    left_to_left = seen[0, pair.touches[0].start, 66:69]
    assert left_to_left.norm() < 0.05


def test_rec_leaves_solo_segments_alone() -> None:
    rec = pipeline().rec
    x, *rest = given()
    change = (rec(x, *rest) - x).abs().amax(dim=(0, 1, 3))
    assert change[:9].max() == 0
    assert change[9:].min() > 0
    weight = model.meeting(data.cue(("solo", "interaction", "solo"), (0, 8, 24), 32, 32)[None])[0]
    assert weight[8:24].gt(0).all()
    assert weight[11:21].eq(1).all()
    assert weight[8] < 0.2 > weight[23]
    assert model.meeting(data.cue(("interaction",), (0,), 20, 20)[None]).eq(1).all()
