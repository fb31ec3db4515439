"""Procedural scenes: exact, repeatable, and what they say they are."""

import numpy as np
import pytest

from aiflow.diffusion.depth.data import batches
from aiflow.diffusion.depth.scenes import HEIGHT, HORIZON, WIDTH, scenes
from aiflow.errors import InputError


@pytest.mark.parametrize("kind", ["indoor", "outdoor", "distant"])
def test_a_scene_does_not_depend_on_its_neighbours(kind: str) -> None:
    many = scenes(kind, "test", 70, seed=3)  # type: ignore[arg-type]
    one = scenes(kind, "test", 1, seed=3, start=66)  # type: ignore[arg-type]
    assert np.array_equal(many.image_BHW3[66], one.image_BHW3[0])
    assert np.array_equal(many.depth_BHW[66], one.depth_BHW[0])
    assert many.image_BHW3.shape == (70, HEIGHT, WIDTH, 3)
    assert (many.image_BHW3.dtype, many.depth_BHW.dtype) == (np.uint8, np.float32)


def test_splits_and_seeds_differ() -> None:
    found = [
        scenes("indoor", split, 1, seed=seed).image_BHW3 for split in ("train", "validation", "test") for seed in (0, 1)
    ]
    assert all(not np.array_equal(a, b) for i, a in enumerate(found) for b in found[:i])


def test_ranges() -> None:
    room, road, distant = (scenes(k, "test", 40).depth_BHW for k in ("indoor", "outdoor", "distant"))
    assert np.isfinite(room).all()
    assert 0.05 < room.min() < room.max() < 10
    assert 0.2 < np.isinf(road).mean() < 0.6
    assert road[np.isfinite(road)].max() <= HORIZON
    assert 8 < np.median(road[road <= 80]) < 20
    assert ((distant > 80) & (distant <= 200)).mean() > 3 * ((road > 80) & (road <= 200)).mean()


def test_the_ground_is_a_plane() -> None:
    """Along a column of open ground, inverse depth is linear in the row."""
    found = scenes("outdoor", "test", 20).depth_BHW
    for depth_HW in found:
        bottom = 1 / depth_HW[-8:].astype(np.float64)
        bend = np.abs(np.diff(bottom, 2, axis=0)).max(axis=0)
        assert (bend < 1e-5).mean() > 0.3


def test_batches_are_the_same_for_the_same_step() -> None:
    a, b = next(batches(5, seed=1, count=12)), next(batches(5, seed=1, count=12))
    c = next(batches(6, seed=1, count=12))
    assert a.image_B3HW.equal(b.image_B3HW)
    assert a.depth_BHW.equal(b.depth_BHW)
    assert not a.image_B3HW.equal(c.image_B3HW)
    stream = batches(5, seed=1, count=12)
    next(stream)
    assert next(stream).image_B3HW.equal(c.image_B3HW)
    assert a.tokens == 16
    assert a.domain_B.tolist() == [0] * 8 + [1] * 8


@pytest.mark.parametrize("wrong", [("cave", "test", 1), ("indoor", "exam", 1), ("indoor", "test", 0)])
def test_wrong_input(wrong: tuple[str, str, int]) -> None:
    with pytest.raises(InputError):
        scenes(*wrong)  # type: ignore[arg-type]
