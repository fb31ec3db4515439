"""An export is written whole or not at all, never over files unasked, and names stay inside of the folder."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aiflow.bench.exports import export, load, main
from aiflow.bench.exports.run import safe_names
from aiflow.bench.log import Header, RunLog
from aiflow.bench.suite import Record, Turn
from aiflow.errors import DataError, UsageError

Make = Callable[[str], Path]


def test_the_files_are_listed_and_nothing_else_is_there(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    written = main(make("mt-bench"), "fastchat", out)
    assert sorted(p for p in out.rglob("*") if p.is_file()) == sorted(written)
    assert capsys.readouterr().out.splitlines() == [str(path) for path in written]
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_without_a_folder_it_goes_beside_the_run(make: Make, tmp_path: Path) -> None:
    run = make("vqa")
    assert all(tmp_path / "vqa-lm-eval" in path.parents for path in main(run, "lm-eval"))


def test_a_folder_with_files_is_refused_and_with_force_its_other_files_stay(make: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "data/mt_bench").mkdir(parents=True)
    (out / "data/mt_bench/question.jsonl").write_text("old")
    (out / "mine").write_text("kept")
    with pytest.raises(UsageError, match=r"not empty.*--force"):
        export(make("mt-bench"), "fastchat", out)
    assert (out / "data/mt_bench/question.jsonl").read_text() == "old"
    export(make("mt-bench"), "fastchat", out, force=True)
    assert (out / "data/mt_bench/question.jsonl").read_text().startswith("{")
    assert (out / "mine").read_text() == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mt-bench", "out"]


def test_a_failed_write_leaves_nothing(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make("mt-bench")

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, f"no space for {len(data)} bytes of {path}")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        export(run, "fastchat", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["mt-bench"]


def test_an_unknown_format_and_a_file_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'fastchat'"):
        export(make("mt-bench"), "fast-chat", tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        export(make("mt-bench"), "fastchat", tmp_path / "file")


def test_a_run_without_answers_or_without_questions_is_refused(make: Make, tmp_path: Path) -> None:
    RunLog(tmp_path / "empty", Header(suite="mt-bench", run={}))
    with pytest.raises(DataError, match="no answers"):
        export(tmp_path / "empty", "inspect", tmp_path / "out")
    for name, to in (("mt-bench", "fastchat"), ("alpaca", "alpaca_eval"), ("arena", "arena-hard")):
        run = make(name)
        (run / "questions.jsonl").unlink()
        with pytest.raises(UsageError, match="holds no questions"):
            export(run, to, tmp_path / "out")
    with pytest.raises(DataError, match="run log"):
        export(tmp_path / "nowhere", "inspect", tmp_path / "out")


def test_a_record_of_an_unknown_question_is_named(make: Make, tmp_path: Path) -> None:
    run = make("vqa")
    log = RunLog(run, load(run).header)
    log.append(Record(subject="eye", sample="zzz", category="", turns=(Turn(text="", score=0.0),)))
    with pytest.raises(DataError, match=r"'zzz'.*'eye'.*not among"):
        export(run, "lm-eval", tmp_path / "out")


def test_names_of_files_are_safe_and_unique() -> None:
    found = safe_names(["org/a", "org:a", "../../etc", "ORG__A", "..", "", "a b"])
    assert len({name.lower() for name in found.values()}) == len(found)
    assert not any("/" in name or name in ("", ".", "..") for name in found.values())
    assert (found["org/a"], found["a b"]) == ("org__a", "a b")


def test_a_subject_cannot_leave_the_folder(make: Make, tmp_path: Path) -> None:
    run = make("mt-bench")
    path = run / "samples.jsonl"
    path.write_text(path.read_text().replace("org/alice", "../../../alice"))
    out = (tmp_path / "deep" / "out").resolve()
    assert all(out in p.resolve().parents for p in export(run, "fastchat", out))


@pytest.mark.parametrize("told", ["2026-01-02T03:04:05", "2026-01-02T03:04:05+00:00"])
def test_the_time_is_the_headers(tmp_path: Path, told: str) -> None:
    assert time_of(tmp_path / "run", told) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_else_the_folders(tmp_path: Path) -> None:
    assert time_of(tmp_path / "20250102T030405Z-nano", None) == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert time_of(tmp_path / "other", None).year >= 2025


def time_of(folder: Path, told: str | None) -> datetime:
    log = RunLog(folder, Header(suite="nano", run={"time": told}))
    log.append(Record(subject="a", sample="1", category="", turns=(Turn(text="", score=0.0),)))
    return load(folder).time


def test_numbers_that_json_does_not_know_become_null(make: Make, tmp_path: Path) -> None:
    run = make("vqa")
    path = run / "header.json"
    path.write_text(path.read_text().replace('"seed":0', '"seed":NaN').replace('"seed": 0', '"seed": NaN'))
    (results,) = (p for p in export(run, "lm-eval", tmp_path / "out") if p.name.startswith("results"))

    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(results.read_text(), parse_constant=refuse)
