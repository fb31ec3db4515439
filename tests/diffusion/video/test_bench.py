"""The table of `aiflow bench video`: what counts as better, on scores made by hand."""

from typing import Any

import numpy as np
import pytest

from aiflow.bench.diffusion import video
from aiflow.diffusion.video.train import RIVALS, STAGES


def made(rng: np.random.Generator, error: float, clips: int = 60) -> dict[str, Any]:
    """Scores that are worse the larger ``error`` is."""
    good = max(0.0, 1 - error)
    overlap = np.stack([np.full((clips, 4), 100 * good), np.full((clips, 4), 100.0)], -1)
    return {
        "features": rng.standard_normal((clips, 8)) + error,
        "hits": (rng.random((clips, 4)) < good).astype(float),
        "absrel": error + 0.01 * rng.random(clips),
        "overlap": overlap,
        "edges": np.stack([np.full(clips, 50 * good), np.full(clips, 50.0), np.full(clips, 50.0)], -1),
        "mse": np.full(clips, error),
    }


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "DRAWS", 8)


def found(ours: float, theirs: float, seeds: int = 2) -> tuple[dict[str, Any], Any]:
    rng = np.random.default_rng(0)
    rows = {}
    for name in ("text", "depth", "segment", "edges"):
        harder = 0.5 if name == "text" else 0.0
        rows[f"omni {name}"] = [made(rng, ours + harder) for _ in range(seeds)]
        rows[f"dedicated {name}"] = [made(rng, theirs + harder) for _ in range(seeds)]
    return rows, rng.standard_normal((60, 8))


def test_what_is_better_is_found_better() -> None:
    results = video.tabulate(*found(0.1, 0.4))
    assert results["beats_baseline"]
    assert results["beats_fifteenth"] is None  # nobody trained them
    assert results["improves_on_text"]
    gap = results["differences"]["omni depth - dedicated depth"]
    assert gap["absrel"][2] < 0 < gap["miou"][1]
    assert gap["absrel"][0] == pytest.approx(-0.3, abs=0.01)
    assert results["metrics"]["omni depth"]["edge_f1"][0] == pytest.approx(0.9)


def test_what_is_worse_is_found_worse() -> None:
    results = video.tabulate(*found(0.4, 0.1))
    assert not results["beats_baseline"]
    rows, real = found(0.1, 0.4)
    rows["omni edges"] = rows["dedicated edges"] = rows["omni text"]
    assert video.tabulate(rows, real)["improves_on_text"]  # equal is not worse
    rows["omni edges"] = [made(np.random.default_rng(1), 0.9)] * 2
    assert not video.tabulate(rows, real)["improves_on_text"]


def test_the_tables_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    results = video.tabulate(*found(0.1, 0.4))
    video.show({**results, "subsets": results["metrics"], "notes": ["a note"]})
    out = capsys.readouterr().out
    assert "omni depth" in out
    assert "a note" in out


def test_rows_have_stages_and_every_set_of_conditions_is_there() -> None:
    rows = video.rows() + video.extra_rows() + video.subset_rows()
    assert all(row.stage in STAGES for row in rows)
    steps = {kind: STAGES[f"{kind}_depth"].recipe.steps / STAGES["omni"].recipe.steps for kind in RIVALS}
    assert steps == pytest.approx(RIVALS, rel=0.01)
    assert len({row.given for row in video.subset_rows()}) == 14  # the fifteenth leaves nothing to generate
