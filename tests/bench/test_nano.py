"""The nano suite on stand-ins whose every figure is known: 20 % alone, 100 % together, n fifths with n agents."""

import json
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.log import read
from aiflow.bench.nano import run_nano
from aiflow.bench.nano.suite import nano_suite
from aiflow.bench.nano.team import Team
from aiflow.bench.outcome import Outcome
from aiflow.bench.results import circular
from aiflow.bench.suite import Suite
from aiflow.errors import InputError, UsageError


def last_line(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    outcome.show(json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_the_json_line(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    found = last_line(outcome, capsys)
    figures = {"merged": 100.0, "best_single": 20.0, "self_moa": 20.0, "oracle": 100.0, "vote": 20.0}
    assert {key: found[key] for key in figures} == figures
    for key in figures:
        lo, hi = found[f"{key}_ci"]
        assert lo <= found[key] <= hi
    assert [device["name"] for device in found["devices"]] == ["math", "code", "text", "islands", "minerals"]
    for device in found["devices"]:
        assert (device["alone"], device["after"], device["after_ci"]) == (20.0, 100.0, [100.0, 100.0])
    assert [(size["agents"], size["score"], size["mean_score"]) for size in found["curve"]] == [
        (n, 20.0 * n, 20.0 * n) for n in range(1, 6)
    ]
    ablation = {part["name"]: part["score"] for part in found["ablation"]}
    assert ablation["all"] == 100.0
    assert (ablation["w/o code"], ablation["only code"]) == (80.0, 20.0)
    assert (found["n"], found["seed"], found["topology"]) == (20, 7, "here")
    assert found["versions"]["ray"]
    assert found["models"]["math"] == "stand-in:math"
    assert found["seconds"] > 0


def test_costs_stand_where_they_arise(outcome: Outcome) -> None:
    merged, alone = outcome.results.row("merged", "aggregate"), outcome.results.row("math", "alone")
    assert (alone.bytes, alone.tokens) == (0.0, 6.0)
    assert merged.bytes == 2 * (5 + 5) * 100  # two turns, five devices answer and revise
    assert merged.tokens == 2 * 3 * (1 + 5 + 1 + 5)
    assert merged.links == {"cloud-phone": 2000.0}
    assert merged.latency
    assert merged.loaded
    assert outcome.results.row("math", "after collaboration").latency is None


def test_the_log_holds_what_the_table_shows(outcome: Outcome) -> None:
    header, records = read(outcome.folder)
    assert header.status == "success"
    assert header.results["merged"] == 100.0
    assert len(records) == 20 * (5 + 1 + 1)


async def test_fewer_agents_agree_with_the_graph(team: Team, suite: Suite) -> None:
    from aiflow.bench.nano.phases import MERGED, Run
    from aiflow.bench.runner import run
    from aiflow.bench.subjects import Collaboration, Pieces
    from aiflow.graphs import device_server

    whole = Run(suite, team, merge="synthesis", quiet=True)
    await whole.together()
    pieces = Pieces(name="pieces", server=team.server, devices=team.devices, select=2)
    graph = Collaboration("graph", device_server(team.server, team.devices, select=2, revise=False))
    found = await run(suite, [pieces, graph])
    texts = [[[turn.text for turn in record.turns] for record in row] for row in found.values()]
    assert texts[0] == texts[1] == [[turn.text for turn in record.turns] for record in whole.records[MERGED]]


async def test_a_device_that_fails_costs_its_own_score(team: Team, suite: Suite, tmp_path: Path) -> None:
    team.devices[0].fails_on = "q0 t0"  # type: ignore[attr-defined]
    outcome = await run_nano(team, suite, out=tmp_path, curve=False, quiet=True)
    assert outcome.results.row("math", "alone").errors == 2
    assert outcome.results.row("math", "after collaboration").errors == 1
    assert outcome.results.row("merged", "aggregate").score.value == 97.5
    assert not outcome.results.curve


def test_tables_and_plots(outcome: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome.show(plots=tmp_path / "plots", report=tmp_path / "copy" / "report.html")
    shown = capsys.readouterr()
    assert "best single (math)" in shown.out
    assert "[100.0, 100.0]" in shown.out
    assert "merged - Self-MoA: +80.0" in shown.out
    assert (tmp_path / "plots" / "nano-agents.png").stat().st_size > 5000
    assert (tmp_path / "copy" / "report.html").is_file()


async def test_no_plot_without_a_curve(team: Team, suite: Suite, tmp_path: Path) -> None:
    outcome = await run_nano(team, suite, out=tmp_path, curve=False, quiet=True)
    with pytest.raises(UsageError, match="without --quick"):
        outcome.show(plots=tmp_path)


def test_circular_orders_start_everywhere() -> None:
    assert circular("abc", 2) == [("a", "b"), ("b", "c"), ("c", "a")]


async def test_the_suite_is_held_out_questions_with_checkers() -> None:
    suite = nano_suite(16)
    assert len({sample.category for sample in suite.samples}) == 8
    sample = suite.samples[0]
    assert (await suite.grade(sample, [sample.references[0]])).score == 100.0
    assert (await suite.grade(sample, [sample.references[0], "nonsense"])).score == 0.0
    with pytest.raises(InputError, match="1 or more"):
        nano_suite(0)
