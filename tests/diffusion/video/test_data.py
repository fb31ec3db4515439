"""TinyPrimitives: everything from (seed, split, index), and views that say the same thing."""

import numpy as np
import pytest

from aiflow.diffusion.video import data
from aiflow.diffusion.video.data import FAR, MODALITIES, NEAR, PALETTE, generate
from aiflow.errors import InputError


def test_a_clip_follows_from_seed_split_and_index_alone() -> None:
    many, one = generate("train", 6), generate("train", 1, start=4)
    for name in MODALITIES:
        assert np.array_equal(many.views[name][4], one.views[name][0])
    assert many.captions[4] == one.captions[0]
    assert not np.array_equal(generate("val", 6).views["rgb"], many.views["rgb"])
    assert not np.array_equal(generate("train", 6, seed=1).views["rgb"], many.views["rgb"])


def test_views_have_their_form() -> None:
    clips = generate("test", 40)
    for view in clips.views.values():
        assert view.shape == (40, 8, 3, 16, 16)
        assert view.dtype == np.float32
        assert np.abs(view).max() <= 1
    assert set(np.unique(clips.views["edges"])) == {-1.0, 1.0}
    assert len({w for c in clips.captions for w in c.split()} - set(data.WORDS)) == 0


def test_depth_segment_and_edges_are_of_the_same_object() -> None:
    clips = generate("test", 60)
    labels = data.segment_labels(clips.views["segment"])
    inside = labels > 0
    depth = data.depth_metres(clips.views["depth"])
    assert depth[inside].max() < 3.4 < 3.5 < depth[~inside].min()
    edges = data.edge_mask(clips.views["edges"])
    assert not (edges & ~inside).any()
    assert (labels.max((1, 2, 3)) == clips.attributes[:, 0] + 1).all()
    assert inside.any((2, 3)).all()


def test_motion_is_what_the_caption_says() -> None:
    clips = generate("train", 200)
    inside = data.segment_labels(clips.views["segment"]) > 0
    depth = data.depth_metres(clips.views["depth"])
    columns, rows = np.arange(16), np.arange(16)[:, None]
    for n, motion in enumerate(clips.attributes[:, 2]):
        first, last = inside[n, 0], inside[n, -1]
        across = (columns * last).sum() / last.sum() - (columns * first).sum() / first.sum()
        down = (rows * last).sum() / last.sum() - (rows * first).sum() / first.sum()
        nearer = depth[n, 0][first].mean() - depth[n, -1][last].mean()
        seen = {"left": -across, "right": across, "up": -down, "down": down, "closer": nearer, "away": -nearer}
        name = data.MOTIONS[motion]
        assert name == "around" or seen[name] > 0.7, (clips.captions[n], seen)


def test_views_and_values_are_inverse() -> None:
    rng = np.random.default_rng(0)
    metres = rng.uniform(NEAR, FAR, (2, 3, 4, 4)).astype(np.float32)
    assert np.allclose(data.depth_metres(data.depth_view(metres)), metres, atol=1e-5)
    labels = rng.integers(0, 4, (2, 3, 4, 4))
    noisy = np.moveaxis(PALETTE[labels], -1, 2) + rng.uniform(-0.3, 0.3, (2, 3, 3, 4, 4))
    assert np.array_equal(data.segment_labels(noisy), labels)
    edges = rng.random((2, 3, 4, 4)) > 0.5
    assert np.array_equal(data.edge_mask(data.edge_view(edges)), edges)


def test_unknown_split() -> None:
    with pytest.raises(InputError, match="tset"):
        generate("tset")
