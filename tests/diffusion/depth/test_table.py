"""Table VIII in form: intervals and claims from known scores."""

import numpy as np

from aiflow.bench.diffusion import depth
from aiflow.diffusion.depth.metrics import NAMES


def scores(level: float, seeds: int = 3, images: int = 60) -> dict[str, np.ndarray]:
    """Scores around a level: image differences large and shared, seed differences small."""
    shared = np.random.default_rng(0).uniform(0.5, 1.5, (1, images, len(NAMES)))
    own = 1 + 0.01 * np.random.default_rng(int(level * 1000)).standard_normal((seeds, 1, 1))
    return {kind: (level * shared * own).copy() for kind in ("indoor", "outdoor", "distant")}


def table(ours: float, linear: float, log: float) -> dict[str, object]:
    given = {"pool": scores(ours), "linear": scores(linear), "linear_tuned": scores(log), "log": scores(log, seeds=1)}
    return depth.tabulate(given)


def test_paired_differences_see_through_hard_images() -> None:
    found = table(0.10, 0.12, 0.11)
    assert found["beats_baseline"] is True
    low, high = found["metrics"]["pool"]["both"]["abs_rel"][1:]  # type: ignore[index]
    assert low < 0.10 < high
    mean, low, high = found["differences"]["linear"]["abs_rel"]  # type: ignore[index]
    assert low < mean < high < 0


def test_no_claim_without_a_difference() -> None:
    assert table(0.10, 0.1001, 0.10)["beats_baseline"] is False
    assert table(0.12, 0.10, 0.10)["beats_baseline"] is False


def test_images_without_pixels_are_left_out() -> None:
    given = {"pool": scores(0.1), "linear": scores(0.2), "linear_tuned": scores(0.2), "log": scores(0.2)}
    for kinds in given.values():
        kinds["distant"][:, :10] = np.nan
    found = depth.tabulate(given)
    assert np.isfinite(found["metrics"]["pool"]["distant"]["abs_rel"]).all()
