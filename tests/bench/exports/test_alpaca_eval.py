"""The win rate of the exported preferences, and the leaderboard, are those of our records and the published ones."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.bench.exports import alpaca_eval, export
from aiflow.bench.exports.run import Run, load
from aiflow.bench.log import Header
from aiflow.bench.suite import Judgment, Record, Sample, Turn
from aiflow.bench.suites.files import find
from aiflow.errors import UsageError

Make = Callable[[str], Path]
DATA = Path(__file__).resolve().parents[3].parent / "shared/data/alpaca_eval"


def test_the_preferences_are_our_scores(make: Make, tmp_path: Path) -> None:
    export(make("alpaca"), "alpaca_eval", tmp_path / "out")
    rows = json.loads((tmp_path / "out/results/alice/judge/annotations.json").read_text())
    assert [row["preference"] for row in rows] == [1.75, 1.125, None, 1.5]
    assert {(row["generator_1"], row["generator_2"]) for row in rows} == {("gpt4_1106_preview", "alice")}
    assert rows[3]["output_1"] == rows[3]["output_2"] == "Done 3."
    outputs = json.loads((tmp_path / "out/results/alice/model_outputs.json").read_text())
    assert [row["instruction"] for row in outputs] == ["Do 0.", "Do 1.", "Do 2.", "Do 3."]


def test_the_leaderboard_is_that_of_the_annotations(make: Make, tmp_path: Path) -> None:
    export(make("alpaca"), "alpaca_eval", tmp_path / "out")
    board = list(csv.DictReader((tmp_path / "out/leaderboards/judge/leaderboard.csv").open()))
    assert [row[""] for row in board] == ["merged", "alice"]
    alice = board[1]
    assert float(alice["win_rate"]) == pytest.approx(100 * (0.75 + 0.125 + 0.5) / 3)
    assert float(alice["standard_error"]) == pytest.approx(18.1620789)
    assert [alice[name] for name in ("n_wins", "n_wins_base", "n_draws", "n_total")] == ["1", "1", "1", "3"]
    assert (alice["length_controlled_winrate"], alice["avg_length"]) == ("40.5", "5")
    assert board[0]["length_controlled_winrate"] == board[0]["standard_error"] == ""


def run_of(scores: list[float | None]) -> Run:
    samples = tuple(Sample(id=str(n), category="koala", turns=(f"Do {n}.",)) for n in range(len(scores)))
    turns = [Turn(text="x", score=s, judgments=(Judgment(judge="j", text="m", verdict="m", score=s),)) for s in scores]
    records = tuple(
        Record(subject="a", sample=s.id, category="koala", turns=(t,)) for s, t in zip(samples, turns, strict=True)
    )
    header = Header(suite="alpaca-eval", run={"time": "2026-01-02T03:04:05+00:00"})
    return Run(header, samples, records, load_time())


def load_time() -> Any:
    from datetime import UTC, datetime

    return datetime(2026, 1, 2, tzinfo=UTC)


@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=1, max_size=30))
def test_every_preference_lies_between_1_and_2_and_none_is_lost(scores: list[float | None]) -> None:
    rows = json.loads(alpaca_eval.export(run_of(scores))["results/a/j/annotations.json"])
    assert [row["preference"] is None for row in rows] == [score is None for score in scores]
    assert all(1 <= row["preference"] <= 2 for row in rows if row["preference"] is not None)


@pytest.mark.skipif(not find(DATA / "annotations.json"), reason="needs the recorded annotations")
def test_recorded_preferences_come_out_with_the_published_win_rate() -> None:
    told = json.loads(gzip.decompress((DATA / "annotations.json.gz").read_bytes()))["models"]["gpt-3.5-turbo-1106"]
    run = run_of([100 * (p - 1) for p in told["preference"]])
    rows = json.loads(alpaca_eval.export(run)["results/a/j/annotations.json"])
    assert 100 * sum(row["preference"] - 1 for row in rows) / len(rows) == pytest.approx(9.177964561962735, abs=1e-6)


@pytest.mark.parametrize("run", ["vqa", "mt-bench", "arena"])
def test_other_suites_are_refused_with_what_fits(make: Make, run: str) -> None:
    with pytest.raises(UsageError, match="they fit AlpacaEval"):
        alpaca_eval.export(load(make(run)))
