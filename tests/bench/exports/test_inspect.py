"""The logs have what Inspect's models require (and, where Inspect is installed, are read by it), with our figures."""

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.exports import export, load

Make = Callable[[str], Path]
REQUIRED = {
    "eval": {"created", "task", "dataset", "model", "config"},
    "sample": {"id", "epoch", "input", "target"},
    "score": {"name", "scorer"},
    "metric": {"name", "value"},
    "error": {"message", "traceback", "traceback_ansi"},
    "model": {"model", "input", "tools", "tool_choice", "config", "output", "event"},
    "sample_init": {"sample", "event"},
    "info": {"data", "event"},
    "score_event": {"score", "event"},
}


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Header, samples by id and summaries of an ``.eval``."""
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        assert {"header.json", "summaries.json", "reductions.json", "_journal/start.json"} <= set(names)
        assert "_journal/summaries/1.json" in names
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in file.infolist())
        samples = [json.loads(file.read(name)) for name in names if name.startswith("samples/")]
        assert all(f"samples/{s['id']}_epoch_1.json" in names for s in samples)
        header, summaries = json.loads(file.read("header.json")), json.loads(file.read("summaries.json"))
    return header, {s["id"]: s for s in samples}, summaries


@pytest.mark.parametrize("run", ["mt-bench", "alpaca", "arena", "vqa"])
def test_required_fields_are_there(make: Make, tmp_path: Path, run: str) -> None:
    for path in export(make(run), "inspect", tmp_path / "out"):
        header, samples, summaries = read(path)
        assert header["version"] == 2
        assert header["status"] == "success"
        assert set(header["eval"]) >= REQUIRED["eval"]
        for entry in header["results"]["scores"]:
            assert set(entry) >= REQUIRED["score"]
            assert all(set(metric) >= REQUIRED["metric"] for metric in entry["metrics"].values())
        for sample in samples.values():
            assert set(sample) >= REQUIRED["sample"]
            assert set(sample.get("error", REQUIRED["error"])) == REQUIRED["error"]
            for event in sample["events"]:
                kind = "score_event" if event["event"] == "score" else event["event"]
                assert set(event) >= REQUIRED[kind]
        assert [summary["id"] for summary in summaries] == list(samples)


def test_the_means_are_ours_and_unread_judgments_count_apart(make: Make, tmp_path: Path) -> None:
    run = load(make("mt-bench"))
    for path in export(make("mt-bench"), "inspect", tmp_path / "out"):
        header, samples, _ = read(path)
        entries = {entry["name"]: entry for entry in header["results"]["scores"]}
        records = run.subjects[header["eval"]["model"]]
        ours = [record.score for record in records if record.score is not None]
        assert entries["score"]["metrics"]["mean"]["value"] == pytest.approx(sum(ours) / len(ours))
        if header["eval"]["model"] == "org/alice":
            assert (entries["turn 2"]["scored_samples"], entries["turn 2"]["unscored_samples"]) == (1, 1)
            unread = samples["101"]["scores"]["turn 2"]
            assert math.isnan(unread["value"])
            assert unread["reason"] == "grader_failed"
            assert "I cannot say." in unread["explanation"]


def test_every_agents_turn_of_a_collaboration_is_there(make: Make, tmp_path: Path) -> None:
    path = next(
        p for p in export(make("mt-bench"), "inspect", tmp_path / "out") if read(p)[0]["eval"]["model"] == "merged"
    )
    header, samples, _ = read(path)
    sample = samples["81"]
    assert sample["output"]["completion"] == "merged 81.2"
    assert [m["content"] for m in sample["messages"]] == ["Write é.", "merged 81.1", "Again.", "merged 81.2"]
    said = [(e["model"], e["output"]["completion"]) for e in sample["events"] if e["event"] == "model"]
    assert said[:3] == [("bob", "Bob's <first>"), ("bob", "Bob's last"), ("merged", "merged 81.1")]
    assert sample["metadata"]["turns"][0]["answers"]["bob"]["score"] == 4.0
    assert sample["store"]["aiflow:steps"][0][0]["agent"] == "bob"
    assert samples["101"]["error"]["message"] == "DeadlineError: late"
    assert header["results"]["completed_samples"] == 1
    assert header["eval"]["model_roles"]["grader"]["model"] == "gpt-4"
    assert header["eval"]["revision"] == {"type": "git", "origin": "", "commit": "0123456789ab", "dirty": True}


def test_a_run_that_stopped_is_cancelled(make: Make, tmp_path: Path) -> None:
    run = make("vqa")
    header = json.loads((run / "header.json").read_text())
    header |= {"status": "stopped", "error": "BudgetSpentError: 10 requests", "results": {}}
    (run / "header.json").write_text(json.dumps(header))
    (path,) = export(run, "inspect", tmp_path / "out")
    told = read(path)[0]
    assert (told["status"], told["error"]["message"]) == ("cancelled", "BudgetSpentError: 10 requests")
    assert told["stats"]["completed_at"] == ""


@pytest.mark.parametrize("to", ["inspect", "inspect-json"])
@pytest.mark.parametrize("run", ["mt-bench", "alpaca", "arena", "vqa"])
def test_inspect_reads_them(make: Make, tmp_path: Path, run: str, to: str) -> None:
    log = pytest.importorskip("inspect_ai.log")
    for path in export(make(run), to, tmp_path / "out"):
        found = log.read_eval_log(str(path))
        assert (found.version, found.status) == (2, "success")
        assert len(found.samples) == len(load(make(run)).subjects[found.eval.model])
        summaries = {s.id: s for s in log.read_eval_log_sample_summaries(str(path))}
        if to == "inspect":
            for sample in found.samples:
                own = sample.summary().model_dump_json(exclude_none=True)
                assert summaries[sample.id].model_dump_json(exclude_none=True) == own
