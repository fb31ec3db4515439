"""Curves of rate against score, image codecs, traces and the controller's game: the parts of ``aiflow bench tofc``."""

import numpy as np
import pytest

from aiflow.bench.tofc import adaptation, images, latency
from aiflow.bench.tofc.curves import Point, compare, frontier
from aiflow.bench.tofc.rate import Measured, System


def curve(*pairs):
    return frontier([Point(name="", nbytes=b, score=s) for b, s in pairs])


def test_a_curve_keeps_what_nothing_beats():
    found = curve((100, 0.5), (200, 0.4), (300, 0.8), (250, 0.8), (400, 0.7))
    assert found.scores.tolist() == [0.5, 0.8]
    assert np.exp(found.log_bytes).round(6).tolist() == [100, 250]


def test_half_the_bytes_at_every_score_is_a_ratio_of_a_half():
    found = compare(curve((50, 0.5), (200, 0.9)), curve((100, 0.5), (400, 0.9)))
    assert found is not None
    assert found.ratio == pytest.approx(0.5)
    assert found.best == pytest.approx(found.worst) == pytest.approx(0.5)


def test_only_scores_that_both_reach_are_compared():
    found = compare(curve((50, 0.5), (200, 0.9)), curve((100, 0.7), (400, 0.95)))
    assert found is not None
    assert (found.low, found.high) == (0.7, 0.9)
    assert compare(curve((50, 0.5)), curve((100, 0.7), (400, 0.95))) is None


def test_worse_is_told_too():
    found = compare(curve((400, 0.5), (900, 0.9)), curve((100, 0.5), (400, 0.9)))
    assert found is not None
    assert found.ratio > 1


def test_files_are_whole_and_grow_with_quality():
    picture = latency.natural(1, 96)
    for kind in ("jpeg", "webp"):
        sizes = [images.send(picture, kind, q).nbytes for q in (5, 50, 95)]
        assert sizes == sorted(sizes)
    errors = [np.abs(images.send(picture, "jpeg", q).image.astype(int) - picture).mean() for q in (5, 50, 95)]
    assert errors == sorted(errors, reverse=True)
    assert images.file(picture, "webp", 50)[:4] == b"RIFF"


def measured(tokens, level, size, mark):
    system = System(kind="tofc", tokens=tokens, quality=level)
    return Measured(system=system, sizes=(size, size + 4), marks={"mme": [mark, mark]})


def test_on_every_trace_the_controller_meets_its_deadlines_and_beats_the_best_fixed_setting():
    found = [measured(8, 0, 60, 0.6), measured(16, 0, 110, 0.7), measured(24, 0, 200, 0.8)]
    rows = adaptation.run(found, dict.fromkeys((8, 16, 24), (0.004, 0.006)))
    assert [row["trace"] for row in rows] == ["steps", "ramp", "walk", "sawtooth", "bursts"]
    for row in rows:
        assert row["met"] >= adaptation.SHARE
        assert row["best_fixed_score"] is None or row["score"] >= row["best_fixed_score"] - 0.005
    assert any(row["score"] > row["best_fixed_score"] + 0.02 for row in rows if row["best_fixed_score"])


def test_the_link_and_the_parts_of_a_latency_add_up():
    cost = latency.Costs(device=0.01, server=0.02, nbytes=1000, upload_server=0.1, upload_bytes={"jpeg": 5000})
    for row in latency.over_rates(cost):
        assert row["link"] == pytest.approx(1000 / row["rate"] + latency.RTT)
        assert row["tofc"] == pytest.approx(row["device"] + row["link"] + row["server"])
        assert row["image_upload"] == pytest.approx(row["upload_link"] + row["upload_server"])
        assert row["ratio"] == pytest.approx(row["tofc"] / row["image_upload"])
