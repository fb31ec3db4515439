"""Two runs side by side: figures that are known beforehand, and what cannot be compared."""

import json
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench import log
from aiflow.bench.report import compare_runs, main_compare
from aiflow.bench.report.material import of_folder
from aiflow.bench.report.side_by_side import side_by_side
from aiflow.bench.suite import Record, Sample, Turn
from aiflow.errors import DataError


def run(root: Path, scores: dict[str, list[float | None]], suite: str = "tiny", **cost: Any) -> Path:
    """A finished run whose questions fall into two categories, every second into each."""
    count = max(map(len, scores.values()))
    samples = [Sample(id=f"s{n}", category=f"c{n % 2}", turns=(f"what is {n}?",)) for n in range(count)]
    with log.RunLog.create(root, suite, {}) as found:
        found.ask(samples)
        for subject, row in scores.items():
            for sample, score in zip(samples, row, strict=False):
                turn = Turn(text="", score=score, **cost)
                found.append(Record(subject=subject, sample=sample.id, category=sample.category, turns=(turn,)))
    return found.folder


def only(told: dict[str, Any]) -> dict[str, Any]:
    (pair,) = told["subjects"]
    assert isinstance(pair, dict)
    return pair


def test_the_figures_are_those_of_the_scores(tmp_path: Path) -> None:
    a = run(tmp_path, {"m": [0, 0, 100, 100, 50, 0, 0, 0]}, tokens=10, seconds=2.0, bytes={"a-b": 1000})
    b = run(tmp_path, {"m": [100, 100, 100, 0, 50, 100, 100, 100]}, tokens=14, seconds=1.0)
    told = compare_runs(a, b)
    pair = only(told)
    assert (told["n"], pair["n"], pair["a"], pair["b"]) == (8, 8, "m", "m")
    assert (pair["mean_a"], pair["mean_b"], pair["difference"]) == (31.25, 81.25, 50.0)
    assert (pair["wins"], pair["ties"], pair["losses"]) == (5, 2, 1)
    lo, hi = pair["difference_ci"]
    assert lo < 50 < hi
    assert pair["p"] == pytest.approx(14 / 64, abs=0.02)
    assert pair["categories"]["c0"]["difference"] == 50.0
    assert pair["categories"]["c1"]["wins"] == 3
    assert {name: (c["a"], c["b"], c["difference"]) for name, c in pair["costs"].items()} == {
        "tokens": (10, 14, 4),
        "bytes": (1000, 0, -1000),
        "seconds": (2, 1, -1),
    }
    assert [line["id"] for line in pair["most"]] == ["s0", "s1", "s3", "s5", "s6", "s7"]
    json.dumps(told, allow_nan=False)


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    a = run(tmp_path, {"m": [0, 100, 0, 100]})
    pair = only(compare_runs(a, a))
    assert (pair["difference"], pair["difference_ci"], pair["p"]) == (0.0, [0.0, 0.0], 1.0)
    assert pair["most"] == []
    assert pair["costs"] == {}


def test_pairing_finds_what_two_intervals_would_hide(tmp_path: Path) -> None:
    base = [100.0 * (n % 2) for n in range(60)]
    a, b = run(tmp_path, {"m": base}), run(tmp_path, {"m": [s * 0.9 + 5 + (n % 3) for n, s in enumerate(base)]})
    pair = only(compare_runs(a, b))
    assert pair["mean_a_ci"][1] > pair["mean_b"] > pair["mean_a_ci"][0]
    c = run(tmp_path, {"m": [min(s + 1, 100) for s in base]})
    pair = only(compare_runs(a, c))
    assert pair["p"] < 0.001
    assert pair["mean_a_ci"][1] > pair["mean_b_ci"][0]


def test_other_names_are_paired_by_lead_and_namesakes_first(tmp_path: Path) -> None:
    a, b = run(tmp_path, {"m": [0, 0], "x": [0, 0]}), run(tmp_path, {"m": [100, 100], "y": [1, 1]})
    told = compare_runs(a, b)
    assert [pair["a"] for pair in told["subjects"]] == ["m"]
    assert (told["a"]["unmatched"], told["b"]["unmatched"]) == (["x"], ["y"])
    pair = only(compare_runs(run(tmp_path, {"old": [0, 0]}), run(tmp_path, {"new": [100, 100]})))
    assert (pair["a"], pair["b"], pair["difference"]) == ("old", "new", 100.0)


def test_what_has_no_score_is_counted(tmp_path: Path) -> None:
    a = run(tmp_path, {"m": [None, 100, 0, 0], "n": [None] * 4})
    b = run(tmp_path, {"m": [100, 100, 100], "n": [1, 1, 1, 1]}, error="broken")
    first, second = compare_runs(a, b)["subjects"]
    assert (first["n"], first["unscored"], first["missing"]) == (2, 1, 1)
    assert (first["errors_a"], first["errors_b"]) == (0, 3)
    assert first["difference"] == 50.0
    assert (second["n"], second["unscored"]) == (0, 4)
    main_compare(a, b)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    a = run(tmp_path, {"m": [0, 0]})
    with pytest.raises(DataError, match=r"'tiny'.*'other'"):
        compare_runs(a, run(tmp_path, {"m": [0, 0]}, "other"))
    b = run(tmp_path, {"m": [0, 0]})
    text = (b / log.QUESTIONS).read_text()
    (b / log.QUESTIONS).write_text(text.replace("what is 0", "who is 0"))
    told = compare_runs(a, b)
    assert (told["n"], told["changed"]) == (1, 1)
    (b / log.QUESTIONS).write_text(text.replace("what", "who"))
    with pytest.raises(DataError, match="all 2 common ids hold other questions"):
        compare_runs(a, b)
    (b / log.QUESTIONS).write_text(text.replace('"s', '"t'))
    (b / log.SAMPLES).write_text(
        (b / log.SAMPLES).read_text().replace('"s', '"t', 0).replace('"sample": "s', '"sample": "t')
    )
    with pytest.raises(DataError, match="no question in common"):
        compare_runs(a, b)
    with pytest.raises(DataError, match=r"no header\.json"):
        compare_runs(a, tmp_path / "nowhere")


def test_runs_without_questions_are_paired_by_id(tmp_path: Path) -> None:
    a, b = run(tmp_path, {"m": [0, 0]}), run(tmp_path, {"m": [100, 100]})
    (a / log.QUESTIONS).unlink()
    assert compare_runs(a, b)["n"] == 2


def test_json_is_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run(tmp_path, {"[m]": [0, 0, 0, 100]}, tokens=3), run(tmp_path, {"[m]": [100, 100, 100, 100]}, tokens=4)
    told = main_compare(a, b, json=True)
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1]) == told
    assert "B - A" in said.err
    main_compare(a, b)
    out = capsys.readouterr().out
    for part in ("[m]", "+75.0", "tokens", "s0 (c0): 0.0 -> 100.0", "4 common questions"):
        assert part in out


def test_two_runs_are_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run(tmp_path, {"m": [0, 0, 100], "x": [0, 0, 0]}), run(tmp_path, {"m": [100, None]})
    main_compare(a, b, out=tmp_path / "new" / "both.html")
    assert "both.html" in capsys.readouterr().err
    page = (tmp_path / "new" / "both.html").read_text()
    for told in ("<td>A: m</td>", "<td>B: m</td>", "tiny: two runs", "m, p 1.000, n 1</td>", "+100.0"):
        assert told in page
    found = side_by_side(of_folder(a), of_folder(b), "a", "b")
    assert [sample.id for sample in found.samples] == ["s0", "s1"]
    assert {name: [r.score for r in by.values()] for name, by in found.records.items()} == {
        "A: m": [0.0, 0.0],
        "B: m": [100.0, None],
    }
