"""The table and the map of ``aiflow bench motion``, on scores made by hand."""

import numpy as np
import pytest

from aiflow.bench.diffusion import motion
from aiflow.bench.diffusion.motion_scores import CHECKS, Scores
from aiflow.bench.diffusion.plots import pairs_map

SCENES, WIDTH = 60, 8


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(motion, "DRAWS", 30)


def made(rng, error, hits=0.8):
    checks = np.full((SCENES, len(CHECKS)), error) + 0.01 * rng.random((SCENES, len(CHECKS)))
    return Scores(
        motion_NZ=rng.standard_normal((SCENES, WIDTH)) + error,
        hits_N3=(rng.random((SCENES, 3)) < hits).astype(float),
        match_N=np.full(SCENES, error),
        checks_NC=checks,
    )


def table(**errors):
    rng = np.random.default_rng(0)
    found = {key: [made(rng, error), made(rng, error)] for key, error in errors.items()}
    return motion.tabulate(found, rng.standard_normal((200, WIDTH)), made(rng, 0.0, 1.0))


def test_a_rival_is_beaten_when_both_intervals_say_so():
    ours = {"ins_rec post": 0.2, "ins_rec loop": 0.1, "ins": 1.0, "joint": 2.0, "strong": 0.2}
    results = table(**ours)
    assert results["beats_baseline"]
    assert results["beats"]["ins_rec post"] == {"joint": True, "ins": True, "strong": False}
    assert set(results["differences"]) == {"ins_rec post", "ins_rec loop"}
    assert results["differences"]["ins_rec post"]["joint"]["gap"][0] == pytest.approx(-1.8, abs=0.02)
    assert not table(**{**ours, "joint": 0.01})["beats_baseline"]


def test_rivals_that_nobody_trained_are_not_judged():
    assert table(**{"ins_rec post": 0.2, "ins": 1.0})["beats"]["ins_rec post"]["joint"] is None


def test_the_map_is_drawn_from_two_amounts_on(tmp_path):
    numbers = {"fid": 2.0, "gap": 0.1, "r1": 0.5}
    found = {"50": {"ins": numbers}, "300": {"ins": numbers, "joint": numbers}, "1600": {}}
    assert pairs_map({"50": found["50"]}, tmp_path / "map.png") is None
    path = pairs_map(found, tmp_path / "map.png")
    assert path is not None
    assert path.stat().st_size > 5000
