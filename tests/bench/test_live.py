"""Suites asked of agents: tables, what a stopped run keeps, what it refuses."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.budget import Budget
from aiflow.bench.judges import Judge, rating
from aiflow.bench.live import Live, run_live
from aiflow.bench.live.team import named
from aiflow.bench.log import read
from aiflow.bench.suite import Grade, Record, Sample, Suite, by_rule
from aiflow.errors import BudgetSpentError, DataError, InputError, QuorumError, UsageError
from aiflow.types import Options

TOWNS = {"France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Greece": "Athens"}
SAMPLES = [
    Sample(id=land, category="towns", turns=(f"The capital of {land}?",), references=(town,))
    for land, town in TOWNS.items()
]


def right(sample: Sample, turn: int, text: str) -> float:
    return 100.0 * (sample.references[turn] in text)


def towns(_: Judge | None) -> Suite:
    def summary(records: Sequence[Record]) -> dict[str, float]:
        return {"accuracy": sum((r.score or 0.0) / 100 for r in records) / len(records)}

    return Suite(name="towns", samples=SAMPLES, grade=by_rule(right), summary=summary)


def judged(judge: Judge | None) -> Suite:
    assert judge

    async def grade(_: Sample, said: Sequence[str]) -> Grade:
        heard = await judge.hear(f"Rate: {said[-1]}", lambda a: rating(a.text), options=Options())
        return Grade(score=heard.value, judgments=(heard.judgment,))

    return Suite(name="judged", samples=SAMPLES, grade=grade, best=10.0, graded=frozenset())


PARIS, ROME = "paris=scripted:Paris", "rome=scripted:Rome"


def test_everybody_alone_and_together(tmp_path: Path) -> None:
    live = Live(models=(PARIS, ROME), server="scripted:Paris or Rome", self_moa=2, curve=True, out=tmp_path)
    outcome = run_live("towns", towns, live, quiet=True)
    found = outcome.json()
    assert found["merged"] == 50.0
    assert found["best_single"] == 25.0
    assert found["oracle"] == 50.0
    assert found["models"]["merged"]["accuracy"] == 0.5
    assert found["models"]["paris"]["score_ci"][0] <= 25.0
    assert [size["agents"] for size in found["curve"]] == [1, 2]
    assert {part["name"] for part in found["ablation"]} == {"all", "w/o paris", "w/o rome", "only paris", "only rome"}
    assert "rome after collaboration" in found["models"]
    header, records = read(outcome.folder)
    assert header.status == "success"
    assert Counter(record.subject for record in records)["merged"] == 4
    assert outcome.report.is_file()


def test_a_stopped_run_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    how = {"models": (PARIS, ROME), "judge": "scripted:[[7]]", "out": tmp_path, "parallel": 1}
    with pytest.raises(BudgetSpentError):
        run_live("judged", judged, Live(**how, budget=Budget(requests=5)), quiet=True)  # type: ignore[arg-type]
    (folder,) = tmp_path.iterdir()
    assert read(folder)[0].status == "stopped"
    assert len(read(folder)[1]) == 4
    again = Budget()
    outcome = run_live("judged", judged, Live(**how, budget=again, resume=folder), quiet=True)  # type: ignore[arg-type]
    assert read(folder)[0].status == "success"
    keys = [json.loads(line)["key"] for line in (folder / "requests.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 10  # eight answers; the judge is asked once about each text
    assert again.spent.requests == 5
    assert outcome.json()["models"]["paris"]["score"] == 7.0
    assert read(folder)[1][0].turns[0].judgments[0].text == "[[7]]"


def test_a_run_is_resumed_only_as_it_was(tmp_path: Path) -> None:
    outcome = run_live("towns", towns, Live(models=(PARIS,), out=tmp_path), quiet=True)
    with pytest.raises(DataError, match="agents"):
        run_live("towns", towns, Live(models=(ROME,), resume=outcome.folder), quiet=True)


def test_an_unreadable_judge_is_no_score(tmp_path: Path) -> None:
    live = Live(models=(PARIS,), judge="scripted:how nice", out=tmp_path)
    found = run_live("judged", judged, live, quiet=True).json()["models"]["paris"]
    assert (found["unparsed"], found["n"], "score" in found) == (4, 4, False)


def test_models_have_names() -> None:
    models = ("http://here/v1#qwen", "a b=scripted:x=y", "aiflow:nano/math")
    assert dict(named(models)) == {"qwen": models[0], "a b": "scripted:x=y", "math": models[2]}
    with pytest.raises(UsageError, match="two agents"):
        list(named(("scripted:a", "other:a")))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "nobody is asked"),
        ({"graph": "home", "server": "scripted:x"}, "needs devices"),
        ({"models": (PARIS,), "server": "scripted:x", "curve": True}, "two or more"),
    ],
)
def test_what_cannot_be_meant(how: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Live(**how)  # type: ignore[arg-type]


def test_a_graph_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from aiflow import device_server\n"
        "def build(cluster):\n"
        "    phone = cluster.agent('phone', node='phone', model='scripted:Rome')\n"
        "    hub = cluster.agent('hub', node='cloud', model='scripted:Rome it is')\n"
        "    return device_server(hub, [phone], select='all', revise=False)\n"
    )
    outcome = run_live("towns", towns, Live(graph=f"{file}:build", local=True, out=tmp_path), quiet=True)
    assert outcome.json()["models"]["graph"]["accuracy"] == 0.25
    (row,) = outcome.json()["rows"]
    assert row["bytes"] > 100


@pytest.mark.parametrize("name", ["server", "judge", "merged", "graph", "Self-MoA", "merged (a + b)"])
def test_no_agent_is_called_as_a_collaboration_is(name: str) -> None:
    with pytest.raises(UsageError, match="two agents would be called"):
        list(named((f"{name}=scripted:a",))) if "(" not in name else list(named((f"scripted:{name}",)))


def test_names_that_no_node_may_have(tmp_path: Path) -> None:
    live = Live(models=("a b=scripted:Paris", "scripted: #### Rome, ok."), out=tmp_path)
    assert set(run_live("towns", towns, live, quiet=True).json()["models"]) == {"a b", "Rome, ok."}


@pytest.mark.parametrize("how", [{"dollars": math.nan, "prices": (1.0, 1.0)}, {"prices": (-1.0, 1.0)}])
def test_budgets_that_stop_nothing(how: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Budget(**how)


def test_a_model_that_never_answers_ends_the_run(tmp_path: Path) -> None:
    live = Live(models=(PARIS, "down=http://127.0.0.1:9/v1#none"), out=tmp_path, deadline=5.0)
    with pytest.raises(QuorumError, match="down answered none of 4 questions"):
        run_live("towns", towns, live, quiet=True)
    (folder,) = tmp_path.iterdir()
    assert read(folder)[0].status == "error"


def test_without_reuse_times_are_true_and_a_resumed_run_still_asks_nothing_twice(tmp_path: Path) -> None:
    how = {"models": (PARIS,), "server": "scripted:Paris", "out": tmp_path, "parallel": 1, "reuse": False}
    whole = run_live("towns", towns, Live(**how), quiet=True)  # type: ignore[arg-type]
    rows = {row["name"]: row for row in whole.json()["rows"]}
    assert "latency" in rows["merged"]
    again = Budget()
    run_live("towns", towns, Live(**how, budget=again, resume=whole.folder), quiet=True)  # type: ignore[arg-type]
    assert again.spent.requests == 0
    reused = run_live("towns", towns, Live(**{**how, "reuse": True}), quiet=True)  # type: ignore[arg-type]
    assert "latency" not in {row["name"]: row for row in reused.json()["rows"]}["merged"]
