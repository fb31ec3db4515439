"""The log survives crashes: atomic header, torn last line, going on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from aiflow.bench.log import RunLog, questions, read
from aiflow.bench.suite import Record, Said, Sample, Turn
from aiflow.errors import BudgetSpentError, DataError

TURN = Turn(text="ä <b>", score=100.0, bytes={"a-b": 7}, answers={"math": Said("4", 100.0)}, selected=("math",))
RECORD = Record(subject="merged", sample="q1", category="c", turns=(TURN, Turn(text="", score=0.0, error="late")))


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    with RunLog.create(tmp_path, "nano", {"seed": 7}) as log:
        assert read(log.folder)[0].status == "started"
        log.append(RECORD)
        log.finish({"merged": 81.2})
    header, records = read(log.folder)
    assert (header.suite, header.status) == ("nano", "success")
    assert (header.run, header.results) == ({"seed": 7}, {"merged": 81.2})
    assert records == [RECORD]
    assert {p.name for p in log.folder.iterdir()} == {"header.json", "samples.jsonl"}


def test_a_torn_line_is_dropped_and_the_log_goes_on(tmp_path: Path) -> None:
    log = RunLog.create(tmp_path, "nano", {})
    log.append(RECORD)
    path = log.folder / "samples.jsonl"
    path.write_bytes(path.read_bytes() + b'{"subject": "mer')
    assert read(log.folder)[1] == [RECORD]
    again = RunLog(log.folder, read(log.folder)[0])
    other = replace(RECORD, sample="q2")
    again.append(other)
    assert read(log.folder)[1] == [RECORD, other]


def test_the_later_of_two_records_counts(tmp_path: Path) -> None:
    with RunLog.create(tmp_path, "nano", {"seed": 7}) as log:
        log.append(RECORD)
    with RunLog.resume(log.folder, "nano", {"seed": 7, "parallel": 3}, same=["seed"]) as again:
        later = replace(RECORD, turns=RECORD.turns[:1])
        again.append(later)
    assert read(log.folder)[1] == [later]
    with pytest.raises(DataError, match="seed 7, not 8"):
        RunLog.resume(log.folder, "nano", {"seed": 8}, same=["seed"])
    with pytest.raises(DataError, match="suite 'nano', not 'mme'"):
        RunLog.resume(log.folder, "mme", {"seed": 7})


def test_questions_are_logged_without_images_and_must_stay_the_same(tmp_path: Path) -> None:
    sample = Sample(id="q1", category="c", turns=("What is this?",), images=(b"...",), data={"options": ["a", "b"]})
    log = RunLog.create(tmp_path, "mme", {})
    log.ask([sample])
    log.ask([sample])
    assert questions(log.folder) == [replace(sample, images=())]
    with pytest.raises(DataError, match="other questions"):
        log.ask([replace(sample, turns=("What is that?",))])


def test_a_spent_budget_is_a_stop(tmp_path: Path) -> None:
    with pytest.raises(BudgetSpentError), RunLog.create(tmp_path, "nano", {}) as log:
        raise BudgetSpentError("the budget of 3 requests is spent")
    assert read(log.folder)[0].status == "stopped"


def test_how_a_run_ended(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunLog.create(tmp_path, "nano", {}) as failed:
        _ = 1 / 0
    assert read(failed.folder)[0].status == "error"
    assert "ZeroDivisionError" in read(failed.folder)[0].error
    with pytest.raises(KeyboardInterrupt), RunLog.create(tmp_path, "nano", {}) as stopped:
        raise KeyboardInterrupt
    assert read(stopped.folder)[0].status == "cancelled"
    assert failed.folder != stopped.folder


def test_what_is_no_log_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run log"):
        read(tmp_path)
    log = RunLog.create(tmp_path, "nano", {})
    path = log.folder / "header.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(DataError, match="version 2"):
        read(log.folder)


def test_a_log_has_one_writer_at_a_time(tmp_path: Path) -> None:
    with RunLog.create(tmp_path, "nano", {}) as log:
        with pytest.raises(DataError, match="is being written by another run"), RunLog.resume(log.folder, "nano", {}):
            pass
        assert read(log.folder)[0].status == "started"
    with RunLog.resume(log.folder, "nano", {}):
        pass


def test_a_refused_resumption_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    with RunLog.create(tmp_path, "nano", {}) as log:
        log.ask([Sample(id="1", category="", turns=("?",))])
        log.finish({"merged": 81.2})
    before = {path.name: path.read_bytes() for path in log.folder.iterdir()}
    with pytest.raises(DataError, match="holds other questions"), RunLog.resume(log.folder, "nano", {}) as again:
        again.ask([])
    assert {path.name: path.read_bytes() for path in log.folder.iterdir()} == before


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/\S+ cannot be written to \(Not a directory\); give another place"):
        RunLog.create(tmp_path / "file", "nano", {})
