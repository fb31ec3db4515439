"""Simulated sessions against the formulas, and the pilot against fixed plans; frames' sizes; the command."""

import json
from typing import Any

import pytest

from aiflow.bench import decoding
from aiflow.bench.decoding import curves, devices, sizes, speed
from aiflow.bench.decoding.simulate import Path, Stage, simulate
from aiflow.collaboration.decoding import costs, forecast
from aiflow.collaboration.decoding.forecast import Choice
from aiflow.collaboration.decoding.tier import Plan
from aiflow.collaboration.decoding.wire import MOST
from aiflow.collaboration.familial.drafter import FOLDER
from aiflow.collaboration.familial.family import Member
from aiflow.errors import UnknownModelError, UsageError


@pytest.mark.parametrize("rate", [0.5e6, 1e6, 2e6])
@pytest.mark.parametrize("rtt", [0.0, 0.02, 0.05])
def test_simulated_synchronous_sessions_take_what_the_formula_says(rate: float, rtt: float) -> None:
    for alpha, gamma in ((0.6, 2), (0.76, 4), (0.9, 6)):
        found = curves.play(alpha, Choice(block=gamma, ahead=gamma, eager=False), rate, rtt, 1500)
        formula = costs.synchronous(alpha, gamma, curves.profile(gamma, rate, rtt))
        assert found.seconds == pytest.approx(formula, rel=0.02)


def test_the_papers_case_study_is_reproduced_at_its_acceptance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "LENGTHS", (2, 3, 4, 5, 6, 24))
    found = curves.lengths(0.76, 1500)
    for optimum in found["optima"]:
        assert optimum["length"] in (3, 4, 5)
        assert 1.9 < optimum["speedup"] < 2.1
        assert optimum["slower_from"] == 24
        assert optimum["worst_difference"] < 0.02


@pytest.mark.parametrize("rtt", [0.0, 0.02, 0.04])
@pytest.mark.parametrize("alpha", [0.4, 0.76, 0.9])
def test_the_forecast_of_streamed_drafts_holds(rtt: float, alpha: float) -> None:
    plan = Choice(block=1, ahead=16, eager=True)
    found = curves.play(alpha, plan, 1e6, rtt, 800)
    assert found.seconds == pytest.approx(forecast.seconds(alpha, curves.profile(1, 1e6, rtt), plan, 800), rel=0.05)


@pytest.mark.parametrize(("rtt", "alpha"), [(0.0, 0.2), (0.0, 0.92), (0.02, 0.76), (0.1, 0.4), (0.1, 0.92)])
def test_the_pilot_is_near_the_best_fixed_plan_and_never_below_the_server(rtt: float, alpha: float) -> None:
    best = min(curves.play(alpha, choice, 1e6, rtt, 500).seconds for choice in curves.FIXED[4::2])
    own = curves.play(alpha, None, 1e6, rtt, 500).seconds
    assert own < best * 1.05
    assert own < curves.SERVER * 1.03


def test_a_device_whose_drafts_are_never_right_rests() -> None:
    drafting = curves.play(0.0, Choice(block=1, ahead=8, eager=True), 1e6, 0.05, 600)
    found = curves.play(0.0, None, 1e6, 0.05, 600)
    assert found.rounds[0] < 0.5 * drafting.rounds[0]
    assert found.seconds < 1.03 * curves.SERVER


def test_three_simulated_tiers_say_what_the_top_says_sooner() -> None:
    stages = [
        Stage(seconds=0.008, alpha=0.8, plan=Plan(block=1, ahead=12, above=True)),
        Stage(seconds=0.04, alpha=0.9, plan=Plan(block=1, ahead=8, above=True)),
        Stage(seconds=0.12, plan=Plan(eager=True)),
    ]
    found = simulate(stages, [Path(rate=2e6, rtt=0.005), Path(rate=10e6, rtt=0.02)], 400)
    assert found.tokens == [0] * 400
    assert found.seconds < 0.12 / 1.4


def test_sizes_on_the_wire() -> None:
    found = sizes.run()
    assert found["up"] <= 32
    assert found["rows"]["soft, 16 probabilities"]["up"] - found["rows"]["soft, 8 probabilities"]["up"] == 4 * 34


def test_the_command_prints_one_json_object_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(curves, "LENGTHS", (2, 4))
    decoding.main(parts=["bytes", "lengths"], tokens=200, plots=tmp_path, json=True)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["bytes"]["up"] == 31
    assert found["lengths"][0]["alpha"] == decoding.ALPHA
    assert len(found["lengths"][0]["rows"]) == len(curves.RATES) * len(curves.LENGTHS)
    assert (tmp_path / "decoding-lengths.png").stat().st_size > 5000


def test_what_cannot_be_measured_is_refused(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="speeed"):
        decoding.main(parts=["speeed"])
    with pytest.raises(UnknownModelError, match="aiflow train family"):
        decoding.main(parts=["speed"], family=tmp_path)


@pytest.mark.parametrize("piloted", [False, True])
def test_while_a_link_is_down_both_sides_go_on_and_nothing_is_lost(piloted: bool) -> None:
    stages = [
        Stage(seconds=0.0055, alpha=0.9, plan=Plan(block=1, ahead=8, above=True)),
        Stage(seconds=0.04, plan=Plan(eager=True)),
    ]
    down = Path(rate=[[0, 1e6], [1, 0], [20, 1e6]], rtt=0.02)
    found = simulate(stages, [down], 400, piloted=piloted, patience=2.0)
    waiting = simulate(stages, [down], 400, piloted=piloted, patience=60.0)
    assert found.tokens == waiting.tokens == [0] * 400
    assert found.total < 20.1  # the server had finished when the link came back
    assert waiting.total > found.total - 0.01
    assert found.rounds[0] > MOST  # the device drafted on, as far as a frame can tell
    assert found.up[0] < 64 * 400  # and asked now and then, not again and again


@pytest.mark.slow
def test_the_shipped_family_decodes_faster_and_says_the_same() -> None:
    found = speed.run(decoding.FAMILY, [Member(exit=2)], drafter=decoding.FAMILY / FOLDER, prompts=2, repeats=1)
    assert found["equal_text"]
    assert found["acceptance"] > 0.5
    assert found["mean_accepted"] > 0.5
    assert set(found["ms_per_token"]) == {
        "target alone", "transformers", "transformers assisted", "separate drafter", "familial"
    }  # fmt: skip


def test_sessions_share_the_rounds_of_one_verifier() -> None:
    found = devices.run(decoding.FAMILY, counts=(1, 3), threads=(1,))
    assert [row["sessions"] for row in found["rows"]] == [1, 3]
    assert all(row["equal_text"] for row in found["rows"])
    assert found["rows"][1]["rounds"] < 2 * found["rows"][0]["rounds"]
