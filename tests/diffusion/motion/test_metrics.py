"""Template checks see what they should; retrieval is R-Precision; losses are zero where they must be."""

import numpy as np
import pytest
import torch

from aiflow.diffusion import distances
from aiflow.diffusion.motion import data, features, losses, metrics
from aiflow.diffusion.motion.scene import Clip
from aiflow.errors import InputError


@pytest.fixture(scope="module")
def clip() -> Clip:
    return next(c for c in data.scenes("validation", 30) if c.kinds == ("solo", "interaction", "solo") and c.touches)


def one(clip: Clip, j: np.ndarray) -> dict[str, float]:
    return metrics.checks([j], [clip.touches], [clip.starts]).means()


def test_a_gap_is_measured_in_metres(clip: Clip) -> None:
    j = features.joints(clip.u_PT)
    apart = j.copy()
    apart[1] += [0.0, 0.25, 0.0]
    assert one(clip, j)["gap"] < 0.05
    assert abs(metrics.contact_gap(apart, clip.touches[:1]) - 0.25) < 0.05


def test_a_late_meeting_is_late(clip: Clip) -> None:
    j = features.joints(clip.u_PT)
    late = np.concatenate([np.repeat(j[:, :1], 4, axis=1), j[:, :-4]], axis=1)
    assert one(clip, j)["timing"] <= 1
    assert one(clip, late)["timing"] >= 3


def test_skating_jerk_bones_and_penetration(clip: Clip) -> None:
    j = features.joints(clip.u_PT)
    plain = one(clip, j)
    sliding = j + np.arange(clip.frames)[None, :, None, None] * np.array([0.05, 0.0, 0.0])
    assert plain["skate"] < 0.02 < one(clip, sliding)["skate"]
    rough = j + np.random.default_rng(0).normal(0, 0.02, j.shape)
    assert one(clip, rough)["jerk"] > plain["jerk"] + 0.05
    assert plain["bone"] < 1e-6 < one(clip, rough)["bone"]
    inside = j.copy()
    inside[1] = j[0]
    assert plain["inside"] == 0
    assert one(clip, inside)["inside"] == 1


def test_nothing_to_check_is_not_zero() -> None:
    quiet = next(c for c in data.pairs(60) if not c.touches)
    found = metrics.checks([features.joints(quiet.u_PT)], [quiet.touches], [quiet.starts])
    assert np.isnan(found.gap_N).all()
    assert np.isnan(found.timing_N).all()
    with pytest.raises(InputError, match="finite joints"):
        metrics.checks([np.zeros((2, 5, 3))], [()], [(0,)])


def test_retrieval_is_r_precision() -> None:
    rng = np.random.default_rng(0)
    text = rng.standard_normal((64, 8))
    motion = text + 0.7 * rng.standard_normal((64, 8))
    hits = metrics.retrieved(text, motion, pool=32, replications=5, seed=3)
    expected = np.mean([distances.r_precision(text, motion, pool=32, seed=3 + k) for k in range(5)], axis=0)
    assert np.allclose(hits.mean(axis=0), expected)
    with pytest.raises(InputError, match="pool of 96"):
        metrics.retrieved(text, motion)


def test_the_table() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((120, 8))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    real = metrics.table(z, z, z, pool=32, replications=3)
    assert real["r1"].mean == 1
    assert real["mm_dist"].mean == 0
    worse = metrics.table(z, z[::-1], z + 0.3, pool=32, replications=3)
    assert worse["fid"].mean > real["fid"].mean
    assert worse["r1"].mean < 0.2


def test_losses_vanish_at_the_truth_and_see_errors() -> None:
    pack = data.pack(data.scenes("validation", 6))
    u, mask, cue = pack.u_N2TC, pack.mask_N2T, pack.cue_NTC
    j = losses.joints(u)
    noisy = u + 0.05 * torch.randn(u.shape, generator=torch.Generator().manual_seed(0))
    n = losses.joints(noisy)
    for zero, more in (
        (losses.reconstruction(u, u, mask), losses.reconstruction(noisy, u, mask)),
        (losses.smooth(u, u, mask, cue), losses.smooth(noisy, u, mask, cue)),
        (losses.distance_map(j, j, mask), losses.distance_map(n, j, mask)),
        (losses.bones(j, j, mask), losses.bones(n, j, mask)),
        (losses.velocities(u, u, mask), losses.velocities(noisy, u, mask)),
        (losses.feet(j, u, mask), losses.feet(n, u, mask)),
    ):
        assert zero < 1e-3
        assert more > zero + 1e-4
    outside = u.clone()
    outside[~mask] = 7.0
    assert losses.reconstruction(outside, u, mask) == 0


def test_junctions_are_borders_of_segments() -> None:
    cue = data.cue(("solo", "interaction", "solo"), (0, 14, 34), 46, 48)[None]
    near = losses.junctions(cue)[0].nonzero()[:, 0].tolist()
    assert near == [*range(9, 19), *range(29, 39)]
    assert not losses.junctions(data.cue(("solo",), (0,), 46, 48)[None]).any()
