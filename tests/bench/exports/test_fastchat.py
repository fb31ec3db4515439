"""What FastChat's ``show_result.py`` computes from the exported files is what our records say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.exports import export, load
from aiflow.bench.suite import by_rule
from aiflow.bench.suites.mt_bench import fastchat, score
from aiflow.bench.suites.mt_bench.suite import rated
from aiflow.errors import UsageError

Make = Callable[[str], Path]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_average_of_the_kept_rows_is_the_mean_of_our_scores(make: Make, tmp_path: Path) -> None:
    export(make("mt-bench"), "fastchat", tmp_path / "out")
    judged = rows(tmp_path / "out/data/mt_bench/model_judgment/gpt-4_single.jsonl")
    assert [row["score"] for row in judged].count(-1) == 1
    run = load(make("mt-bench"))
    for subject, records in run.subjects.items():
        kept = [row["score"] for row in judged if row["model"] == run.files[subject] and row["score"] != -1]
        ours = [turn.score for record in records for turn in record.turns if turn.score is not None]
        assert sum(kept) / len(kept) == pytest.approx(sum(ours) / len(ours))
    assert run.files == {"org/alice": "org__alice", "merged": "merged"}


def test_our_reader_of_fastchats_files_finds_the_same(make: Make, tmp_path: Path) -> None:
    export(make("mt-bench"), "fastchat", tmp_path / "out")
    folder = tmp_path / "out/data/mt_bench"
    found = fastchat.singles(folder)["gpt-4"]
    assert {(s.question, s.turn): s.value for s in found["org__alice"]} == {
        ("81", 1): 9.0,
        ("81", 2): 6.0,
        ("101", 1): 7.5,
        ("101", 2): None,
    }
    assert [s.value for s in found["merged"]] == [8.0, 10.0, 0.0, 0.0]
    assert fastchat.answers(folder)["merged"]["101"] == ("$ERROR$", "$ERROR$")


def test_our_summary_of_the_run_is_fastchats_average(make: Make, tmp_path: Path) -> None:
    run = load(make("mt-bench"))
    summary = rated(run.samples, by_rule(lambda *_: 0.0)).summary
    assert summary is not None
    export(make("mt-bench"), "fastchat", tmp_path / "out")
    judged = rows(tmp_path / "out/data/mt_bench/model_judgment/gpt-4_single.jsonl")
    for subject, records in run.subjects.items():
        kept = [row["score"] for row in judged if row["model"] == run.files[subject] and row["score"] != -1]
        assert summary(records)["fastchat_average"] == pytest.approx(sum(kept) / len(kept))


def test_pairs_give_our_wins_losses_and_ties(make: Make, tmp_path: Path) -> None:
    export(make("pairwise"), "fastchat", tmp_path / "out")
    pairs = fastchat.pairs(tmp_path / "out/data/mt_bench_pairwise")["gpt-4"]
    assert [score.outcome(pair) for pair in pairs] == ["win", "tie", None, "loss"]
    assert not (tmp_path / "out/data/mt_bench_pairwise/model_judgment/gpt-4_single.jsonl").exists()


def test_templates_and_ids_are_fastchats(make: Make, tmp_path: Path) -> None:
    export(make("mt-bench"), "fastchat", tmp_path / "out")
    judged = rows(tmp_path / "out/data/mt_bench/model_judgment/gpt-4_single.jsonl")
    named = {(row["question_id"], row["turn"]): row["judge"] for row in judged}
    assert named[81, 1] == ["gpt-4", "single-v1"]
    assert named[101, 2] == ["gpt-4", "single-math-v1-multi-turn"]


@pytest.mark.parametrize("run", ["vqa", "alpaca", "arena"])
def test_other_suites_are_refused_with_what_fits(make: Make, tmp_path: Path, run: str) -> None:
    with pytest.raises(UsageError, match="they fit MT-Bench"):
        export(make(run), "fastchat", tmp_path / "out")
    assert not (tmp_path / "out").exists()
