"""The exported games give the win rate that our records have, in both forms, and real judgments come through whole."""

import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.exports import arena_hard, export, load
from aiflow.bench.exports.run import Run
from aiflow.bench.exports.style import style
from aiflow.bench.log import Header
from aiflow.bench.suite import Judgment, Record, Sample, Turn
from aiflow.bench.suites.arena_hard import recorded
from aiflow.bench.suites.arena_hard.suite import suite
from aiflow.errors import UsageError

Make = Callable[[str], Path]
RAW = Path(__file__).resolve().parents[3].parent / "shared/data/arena_hard/raw_judgments"
POINTS = {"A>>B": (1, 3), "A>B": (1, 1), "A=B": (0.5, 1), "B>A": (0, 1), "B>>A": (0, 3)}


def rows(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def closed_form(judged: Iterable[Mapping[str, Any]], whole: bool = False) -> float:
    """(wins + ties / 2) / battles of the model, by the labels; ``whole``: only questions with both (v2)."""
    won = total = 0.0
    for row in judged:
        labels = [game and game["score"] for game in row["games"]]
        if whole and None in labels:
            continue
        for place, label in enumerate(labels):
            if label in POINTS:
                points, weight = POINTS[label]
                won, total = won + weight * (points if place else 1 - points), total + weight
    return 100 * won / total


def test_v01_drops_a_game_and_v2_a_question(make: Make) -> None:
    run = load(make("arena"))
    first, second = arena_hard.export(run), arena_hard.export_v2(run)
    alice = rows(first["data/arena-hard-v0.1/model_judgment/gpt-4-1106-preview/org__alice.jsonl"])
    newer = rows(second["data/arena-hard-v2.0/model_judgment/gpt-4-1106-preview/org__alice.jsonl"])
    assert closed_form(alice) == pytest.approx(100 * (3 + 1 + 0.5 + 0 + 0 + 0 + 0) / 9)
    assert closed_form(newer, whole=True) == pytest.approx(100 * (3 + 1 + 0.5 + 0 + 0 + 0) / 8)
    assert [row["baseline"] for row in newer] == ["gpt-4-0314"] * 4
    assert [row["question_id"] for row in alice] == ["u0", "u1", "u2", "u3"]
    assert [game["judgment"] for game in alice[3]["games"]] == [None, None]


def test_a_game_that_was_not_played_is_null() -> None:
    said = (Judgment(judge="j", text="[[A>B]]", verdict="A>B", label="game 2"),)
    run = run_of([("u", said)])
    assert rows(arena_hard.export_v2(run)["data/arena-hard-v2.0/model_judgment/j/m.jsonl"])[0]["games"][0] is None
    first = rows(arena_hard.export(run)["data/arena-hard-v0.1/model_judgment/j/m.jsonl"])[0]["games"]
    assert [game["score"] for game in first] == [None, "A>B"]


@pytest.mark.parametrize("version", ["v0.1", "v2"])
def test_our_summary_and_our_reader_find_the_same(make: Make, tmp_path: Path, version: str) -> None:
    run = make("arena")
    out, to = tmp_path / "out", f"arena-hard-{version}"
    export(run, to, out)
    folder = next((out / "data").iterdir())
    records = load(run).subjects["org/alice"]
    summary = suite(folder, variant=version).summary
    assert summary is not None
    ours = summary(records)
    found = recorded(folder)["models"]["org__alice"]
    for name in ("score", "n_battles", "dropped"):
        assert found[name] == pytest.approx(ours[name])


def test_the_form_follows_the_runs_version(make: Make) -> None:
    run = load(make("arena"))
    samples = tuple(replace(sample, data={"version": "v2"}) for sample in run.samples)
    assert all("v0.1" in name for name in arena_hard.export(run))
    assert all("v2.0" in name for name in arena_hard.export(replace(run, samples=samples)))


def test_a_label_without_a_meaning_is_null() -> None:
    said = (Judgment(judge="j", text="[[A<>B]]", verdict="A<>B", label="game 1"),)
    run = run_of([("u", said)])
    assert (
        rows(arena_hard.export_v2(run)["data/arena-hard-v2.0/model_judgment/j/m.jsonl"])[0]["games"][0]["score"] is None
    )


def run_of(said: Iterable[tuple[str, tuple[Judgment, ...]]]) -> Run:
    told = list(said)
    samples = tuple(Sample(id=name, category="arena-hard-v0.1", turns=("?",)) for name, _ in told)
    records = tuple(
        Record(subject="m", sample=name, category="", turns=(Turn(text="!", score=50.0, judgments=judgments),))
        for name, judgments in told
    )
    return Run(Header(suite="arena-hard", run={}), samples, records, datetime(2026, 1, 2, tzinfo=UTC))


@pytest.mark.skipif(not RAW.is_dir(), reason="needs the recorded judgments")
def test_recorded_judgments_come_through_whole() -> None:
    (path,) = RAW.glob("*.gz")
    told = rows(gzip.decompress(path.read_bytes()))

    def judgments(row: Mapping[str, Any]) -> tuple[Judgment, ...]:
        return tuple(
            Judgment(judge=row["judge"], text=g["judgment"], verdict=g["score"] or "", label=f"game {n}")
            for n, g in enumerate(row["games"], 1)
        )

    files = arena_hard.export(run_of((row["question_id"], judgments(row)) for row in told))
    found = rows(files["data/arena-hard-v0.1/model_judgment/gpt-4-1106-preview/m.jsonl"])
    assert len(found) == 82
    for ours, theirs in zip(found, told, strict=True):
        assert ours["question_id"] == theirs["question_id"]
        assert [g["score"] for g in ours["games"]] == [g["score"] for g in theirs["games"]]
        assert [g["judgment"] for g in ours["games"]] == [g["judgment"] for g in theirs["games"]]
    assert closed_form(found) == closed_form(told)


def test_style_is_counted_outside_of_code() -> None:
    text = "# T\n## U\n1. a\n2. b\n* c\n**d** __e__\n```\n# no\n- no\n**no**\n```\n"
    found = style(text)
    assert found["header_count"] == {"h1": 1, "h2": 1, "h3": 0, "h4": 0, "h5": 0, "h6": 0}
    assert found["list_count"] == {"ordered": 2, "unordered": 1}
    assert found["bold_count"] == {"**": 1, "__": 1}
    assert style("one, two")["token_len"] == 3


@pytest.mark.parametrize("run", ["vqa", "mt-bench", "alpaca", "pairwise"])
def test_other_suites_are_refused_with_what_fits(make: Make, run: str) -> None:
    with pytest.raises(UsageError, match="they fit Arena-Hard"):
        arena_hard.export(load(make(run)))
