"""The paper's tables asked of agents: their rows, and the figures of the subjects that stand in them."""

import json
from pathlib import Path

import pytest

from aiflow.bench.live import Live, paper
from aiflow.errors import UsageError

TABLE_III = """8.465 59.76 54.26 89.7 76.19
7.956 45.45 41.91 78.5 66.66
5.843 19.71 17.13 71.2 48.92
7.838 60.04 54.56 66.8 66.58
7.612 61.24 68.25 89.8 78.05
7.931 62.72 69.11 81.3 76.57
6.338 17.53 17.14 80.2 53.57
8.424 62.70 71.18 73.2 76.21"""
"""MT-Bench, LC win, win, Arena-Hard, Agg. as published, but for the first row, whose second and third are exchanged."""


@pytest.mark.parametrize("line", TABLE_III.splitlines())
def test_the_aggregate_is_the_papers(line: str) -> None:
    rated, controlled, won, hard, told = map(float, line.split())
    figures = {
        "mt-bench": {"average": rated},
        "alpaca-eval": {"length_controlled_winrate": controlled, "win_rate": won},
        "arena-hard": {"score": hard},
    }
    assert paper.aggregate(figures) == pytest.approx(told, abs=0.015)
    assert paper.aggregate({"mt-bench": {"average": rated}}) is None


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "gsm8k"
    folder.mkdir(parents=True)
    rows = [{"question": f"What is {n} + {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in (1, 2, 3)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder.parent


def live(tmp_path: Path, **how: object) -> Live:
    models = ("two=scripted:2", "four=scripted:4")
    return Live(models=models, server="scripted:2", out=tmp_path, **how)  # type: ignore[arg-type]


def test_a_row_for_everybody_before_and_after(data: Path, tmp_path: Path) -> None:
    table = paper.make("III", live(tmp_path), suites=["gsm8k"], data=data, limit=None)
    scores = {name: row["gsm8k"]["score"] for name, row in table.rows.items()}
    assert scores["two"] == scores["four"] == scores["merged"] == pytest.approx(100 / 3)
    assert "four after collaboration" in scores
    assert table.json()["rows"][0]["aggregate"] is None


def test_rows_by_number_and_by_absence(data: Path, tmp_path: Path) -> None:
    by_number = paper.make("V", live(tmp_path), suites=["gsm8k"], data=data, limit=2)
    assert list(by_number.rows) == ["1", "2"]
    by_absence = paper.make("VI", live(tmp_path), suites=["gsm8k"], data=data, limit=2)
    assert list(by_absence.rows) == ["all", "w/o two", "w/o four", "only two", "only four"]


def test_a_table_goes_on(data: Path, tmp_path: Path) -> None:
    first = paper.make("III", live(tmp_path), suites=["gsm8k"], data=data, limit=None)
    root = Path(first.runs["gsm8k"]).parents[1]
    again = paper.make("III", live(tmp_path, resume=root), suites=["gsm8k"], data=data, limit=None)
    assert again.runs == first.runs
    assert again.rows == first.rows


def test_what_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no table 'VII'"):
        paper.main("VII", live(tmp_path), suites=[], data=None)
    with pytest.raises(UsageError, match="needs a --server"):
        paper.make("III", Live(models=("scripted:x",)), suites=["gsm8k"], data=None, limit=None)
