"""Depth metrics: golden numbers, crops, resizing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.diffusion.depth.metrics import (
    NAMES,
    PROTOCOLS,
    Protocol,
    crop_mask,
    kb_crop,
    mirrored,
    resize,
    score,
    table,
    within,
)
from aiflow.errors import InputError

ALL = Protocol(low=1e-3, high=80.0)


def test_golden_numbers_of_the_nyu_protocol() -> None:
    rng = np.random.default_rng(0)
    for shape in ((500, 32), (500, 32), (96, 16), (96, 16)):
        rng.standard_normal(shape)
    truth = rng.uniform(0.5, 9.5, (480, 640))
    prediction = np.clip(truth * np.exp(0.1 * rng.standard_normal(truth.shape)), 1e-3, 10)
    found = score(prediction, truth, PROTOCOLS["nyu"])
    assert found is not None
    golden = {"delta1": 0.97650486, "abs_rel": 0.07894031, "rmse": 0.54099910, "log10": 0.03422770}
    for name, value in golden.items():
        assert found[name] == pytest.approx(value, abs=1e-8)


def test_a_perfect_prediction_has_no_error() -> None:
    truth = np.linspace(1, 79, 48 * 64).reshape(48, 64)
    found = score(truth, truth, ALL)
    assert found is not None
    assert [found[f"delta{i}"] for i in (1, 2, 3)] == [1, 1, 1]
    assert all(found[name] == pytest.approx(0, abs=1e-12) for name in NAMES[3:])


@settings(deadline=None, max_examples=50)
@given(factor=st.floats(0.3, 3.0))
def test_a_constant_factor(factor: float) -> None:
    truth = np.linspace(2, 20, 200).reshape(10, 20)
    found = score(truth * factor, truth, ALL)
    assert found is not None
    assert found["abs_rel"] == pytest.approx(abs(factor - 1), abs=1e-9)
    assert found["log10"] == pytest.approx(abs(np.log10(factor)), abs=1e-9)
    assert found["silog"] == pytest.approx(0, abs=1e-5)  # blind to scale
    ratio = max(factor, 1 / factor)
    if abs(ratio - 1.25) > 1e-9:  # there the pixels themselves round to both sides
        assert found["delta1"] == float(ratio < 1.25)


def test_infinity_and_nan_are_clamped() -> None:
    assert within(np.array([np.inf, np.nan, -1.0, 3.0]), ALL).tolist() == [80.0, 1e-3, 1e-3, 3.0]
    truth = np.full((4, 4), 40.0)
    found = score(np.full((4, 4), np.inf), truth, ALL)
    assert found is not None
    assert found["abs_rel"] == pytest.approx(1.0)


def test_pixels_out_of_range_do_not_count() -> None:
    truth = np.array([[1.0, 0.0, np.nan, np.inf, 90.0, 2.0]])
    guess = np.array([[1.0, 5.0, 5.0, 5.0, 5.0, 4.0]])
    found = score(guess, truth, ALL)
    assert found is not None
    assert found["abs_rel"] == pytest.approx(0.5)
    assert score(guess, np.zeros((1, 6)), ALL) is None
    assert np.isnan(table([None])).all()


def test_crops() -> None:
    assert crop_mask((480, 640), "nyu_eigen").sum() == (471 - 45) * (601 - 41)
    garg = crop_mask((352, 1216), "kitti_garg")
    rows, columns = np.nonzero(garg)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (143, 349, 43, 1172)
    eigen = crop_mask((375, 1242), "kitti_eigen")
    rows, columns = np.nonzero(eigen)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (124, 342, 44, 1197)
    image = np.arange(375 * 1242).reshape(375, 1242)
    assert np.array_equal(kb_crop(image), image[23:, 13:1229])


def test_resizing_keeps_the_corners() -> None:
    d = np.arange(12.0).reshape(3, 4)
    up = resize(d, (5, 7))
    assert up[::2, ::2] == pytest.approx(d)
    assert up[1, 1] == pytest.approx(d[:2, :2].mean())
    assert np.array_equal(resize(d, (3, 4)), d)


def test_mirroring_averages() -> None:
    image = np.arange(24.0).reshape(2, 4, 3)
    assert np.array_equal(mirrored(lambda x: x[..., 0], image), image[..., 0])
    assert np.array_equal(mirrored(lambda _: np.tile(np.arange(4.0), (2, 1)), image), np.full((2, 4), 1.5))


@pytest.mark.parametrize(
    "call",
    [
        lambda: score(np.ones(3), np.ones((3, 3)), ALL),
        lambda: crop_mask((10, 10), "nyu_eigen"),
        lambda: crop_mask((10, 10), "middle"),  # type: ignore[arg-type]
        lambda: kb_crop(np.zeros((100, 100))),
    ],
)
def test_wrong_input(call: object) -> None:
    with pytest.raises(InputError):
        call()  # type: ignore[operator]
