"""AlpacaEval's published figures from the recorded judgments of 30 models, where those are at hand."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiflow.bench.suites import alpaca_eval, files
from aiflow.bench.suites.alpaca_eval import annotations, data
from aiflow.bench.suites.alpaca_eval.score import switched
from aiflow.errors import DataError


def _real() -> Path | None:
    try:
        return files.locate("alpaca_eval", None, "annotations.json")
    except DataError:
        return None


REAL = _real()
needs_data = pytest.mark.skipif(REAL is None, reason="the recorded data is not here")


@pytest.fixture(scope="module")
def scored() -> dict[str, dict[str, Any]]:
    start = time.process_time()
    found: dict[str, dict[str, Any]] = alpaca_eval.recorded(REAL)["models"]
    assert time.process_time() - start < 20
    return found


@needs_data
def test_every_published_win_rate_is_exact(scored: dict[str, dict[str, Any]]) -> None:
    assert len(scored) == 30
    for model, figures in scored.items():
        for name in ("win_rate", "standard_error", "discrete_win_rate", "n_wins", "n_wins_base", "n_draws", "n_total"):
            assert figures[name] == pytest.approx(figures["published"][name], abs=1e-6), (model, name)
        assert figures["avg_length"] == figures["published"]["avg_length"], model
        assert figures["preference_mismatches"] == 0
    assert sum(figures["logprob_rows"] for figures in scored.values()) > 20_000


@needs_data
def test_every_published_length_controlled_win_rate_is_near(scored: dict[str, dict[str, Any]]) -> None:
    for model, figures in scored.items():
        published = figures["published"]["length_controlled_winrate"]
        assert figures["length_controlled_winrate"] == pytest.approx(published, abs=0.2), model
        if model != "NullModel":  # whose published coefficients do not give its published win rate
            assert figures["length_controlled_at_published_C"] == pytest.approx(published, abs=0.002), model
            assert figures["length_controlled_from_coefficients"] == pytest.approx(published, abs=0.01), model
    known = ("claude", "claude-2.1", "gemma-7b-it", *(name for name in scored if name.startswith("FuseChat")))
    for model in known:
        assert scored[model]["C"] == pytest.approx(2.7825594)
        assert abs(scored[model]["difference"]["length_controlled_winrate"]) < 0.001
    assert sum(abs(figures["difference"]["length_controlled_winrate"]) < 0.01 for figures in scored.values()) >= 20


@needs_data
def test_leaving_the_gamed_rows_out_shows(scored: dict[str, dict[str, Any]]) -> None:
    control, apart = data.control(REAL), []
    for one in annotations.load(REAL)[8:18]:
        hard = control.difficulty[: len(one.ids)]
        found = alpaca_eval.length_controlled(one.preference_N, one.length_N, one.baseline_length_N, hard, None)
        apart.append(abs(found.length_controlled_winrate - scored[one.model]["published"]["length_controlled_winrate"]))
    assert min(apart) > 0.2
    assert np.median(apart) > 0.8


@needs_data
def test_the_order_and_the_baseline_are_the_recorded_ones() -> None:
    assert REAL
    recorded = files.load(REAL / "annotations.json")
    assert [switched(text) for text in recorded["instructions"]] == recorded["order_switched"]
    assert sum(recorded["order_switched"]) == 406
    assert [len(question.baseline) for question in data.questions(REAL)] == recorded["len_output_1"]
    assert len(alpaca_eval.outputs(REAL)) == 16
    assert [message.role for message in data.prompt(REAL)] == ["system", "user"]


@needs_data
def test_raw_annotations_score_as_the_columns_do(scored: dict[str, dict[str, Any]]) -> None:
    assert REAL
    [gemma] = alpaca_eval.recorded(REAL / "annotations_full" / "gemma-2b-it.json.gz")["models"].items()
    name, figures = gemma
    for figure in ("win_rate", "avg_length", "length_controlled_winrate", "C", "logprob_rows", "preference_mismatches"):
        assert figures[figure] == pytest.approx(scored[name][figure])
