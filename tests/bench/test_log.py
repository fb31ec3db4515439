"""The log survives crashes: atomic header, torn last line, going on."""

import json
from pathlib import Path

import pytest

from aiflow.bench.log import RunLog, read
from aiflow.bench.suite import Record, Said, Turn
from aiflow.errors import DataError

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
    again.append(RECORD)
    assert read(log.folder)[1] == [RECORD, RECORD]


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
    with pytest.raises(DataError, match="version 1"):
        read(log.folder)
