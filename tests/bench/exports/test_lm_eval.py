"""The exported files have what lm-evaluation-harness' own have, and their figures are those of the samples."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.exports import export, load

Make = Callable[[str], Path]
RESULTS = {"results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "config"}
RESULTS |= {"git_hash", "date", "task_hashes", "model_source", "model_name", "model_name_sanitized"}
RESULTS |= {"total_evaluation_time_seconds", "groups", "system_instruction", "chat_template", "fewshot_as_multiturn"}
SAMPLE = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
SAMPLE |= {"doc_hash", "prompt_hash", "target_hash"}


def exported(make: Make, run: str, out: Path, subject: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    export(make(run), "lm-eval", out)
    (results,) = (out / subject).glob("results_*.json")
    (samples,) = (out / subject).glob("samples_*.jsonl")
    assert results.stem.split("_")[-1] == samples.stem.split("_")[-1]
    task = samples.name[samples.name.find("_") + 1 : samples.name.rfind("_")]
    told = json.loads(results.read_text(encoding="utf-8"))
    assert list(told["results"]) == [task]
    return told, [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("run", "subject"), [("mt-bench", "org__alice"), ("vqa", "eye")])
def test_all_fields_are_there_and_the_mean_is_that_of_the_samples(
    make: Make, tmp_path: Path, run: str, subject: str
) -> None:
    told, samples = exported(make, run, tmp_path / "out", subject)
    assert set(told) >= RESULTS
    assert isinstance(told["total_evaluation_time_seconds"], str)
    for row in samples:
        assert set(row) >= SAMPLE
        assert isinstance(row["target"], str)
        assert len(row["arguments"]) == len(row["resps"]) == len(row["filtered_resps"])
    scores = [row["score"] for row in samples]
    figures = next(iter(told["results"].values()))
    assert figures["score,none"] == pytest.approx(statistics.mean(scores))
    assert figures["score_stderr,none"] == pytest.approx(statistics.stdev(scores) / len(scores) ** 0.5)


def test_a_later_turn_is_asked_with_the_talk_so_far(make: Make, tmp_path: Path) -> None:
    _, samples = exported(make, "mt-bench", tmp_path / "out", "org__alice")
    arguments = samples[0]["arguments"]
    assert arguments["gen_args_0"] == {
        "arg_0": "Write é.",
        "arg_1": {"max_gen_toks": 256, "temperature": 0.7, "until": [], "do_sample": True},
    }
    assert [m["content"] for m in json.loads(arguments["gen_args_1"]["arg_0"])] == [
        "Write é.",
        "org/alice 81.1",
        "Again.",
    ]


def test_published_figures_stand_beside_the_score(make: Make, tmp_path: Path) -> None:
    told, _ = exported(make, "vqa", tmp_path / "out", "eye")
    assert told["results"]["mme"]["perception,none"] == 100
    assert told["n-samples"]["mme"] == {"original": 3, "effective": 2}


def test_a_log_without_questions_is_exported_with_the_answers(make: Make, tmp_path: Path) -> None:
    run = make("mt-bench")
    (run / "questions.jsonl").unlink()
    assert len(load(run).questions) == 2
    export(run, "lm-eval", tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.json*"))) == 4
