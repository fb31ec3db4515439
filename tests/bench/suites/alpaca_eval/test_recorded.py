"""Recorded judgments of AlpacaEval in both forms of file, and what is said of bad ones."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aiflow.bench.suites import alpaca_eval
from aiflow.bench.suites.alpaca_eval import annotations, data, length_control
from aiflow.errors import DataError


def test_recorded_columns(nowhere: Path, small: SimpleNamespace) -> None:
    columns = small.columns()
    columns["models"]["one"]["published"] = {"win_rate": 50.0, "lc_standard_error": None}
    found = alpaca_eval.recorded(small.write(nowhere, columns))
    json.dumps(found, allow_nan=False)
    figures = found["models"]["one"]
    y = np.array(columns["models"]["one"]["preference"]) - 1
    assert figures["win_rate"] == pytest.approx(100 * y.mean())
    assert (figures["logprob_rows"], figures["preference_mismatches"]) == (small.rows, 0)
    assert 0 < figures["length_controlled_winrate"] < 100
    assert figures["C"] in length_control.grid()
    assert figures["difference"] == {"win_rate": pytest.approx(figures["win_rate"] - 50)}
    assert "length_controlled_note" not in figures


def test_a_wrong_preference_is_a_mismatch(nowhere: Path, small: SimpleNamespace) -> None:
    columns = small.columns()
    columns["models"]["one"]["preference"][4] = 3 - columns["models"]["one"]["preference"][4]
    assert alpaca_eval.recorded(small.write(nowhere, columns))["models"]["one"]["preference_mismatches"] == 1


def test_without_gamed_rows_there_is_no_number(nowhere: Path, small: SimpleNamespace) -> None:
    found = alpaca_eval.recorded(small.write(nowhere, small.columns(), control=False))["models"]["one"]
    assert found["length_controlled_winrate"] is None
    assert "instruction_difficulty.csv" in found["length_controlled_note"]
    assert found["win_rate"] > 0


def test_missing_rows_take_difficulties_by_row_number_and_unread_ones_stay(
    nowhere: Path, small: SimpleNamespace
) -> None:
    columns = small.columns()
    model = columns["models"]["one"]
    for column in model.values():
        column[3] = None
    model["preference"][5], model["logprob_m_M"][5] = math.nan, [None, math.nan]
    [one] = annotations.load(small.write(nowhere, columns))
    assert one.missing == 1
    assert "3" not in one.ids
    found = alpaca_eval.recorded(nowhere)["models"]["one"]
    assert (found["n_total"], found["n_unparsed"], found["n_missing"]) == (small.rows - 2, 1, 1)
    assert found["avg_length"] == sum(n for n in model["len_output_2"] if n) // small.rows
    control = data.control(nowhere)
    by_number = control.difficulty[: small.rows - 1]
    expected = alpaca_eval.length_controlled(
        one.preference_N, one.length_N, one.baseline_length_N, by_number, control.gamed
    )
    assert found["length_controlled_winrate"] == expected.length_controlled_winrate


def test_models_without_probabilities_or_preferences(nowhere: Path, small: SimpleNamespace) -> None:
    columns = small.columns()
    before = alpaca_eval.recorded(small.write(nowhere, columns))["models"]["one"]
    columns["models"]["one"].pop("logprob_m_M")
    found = alpaca_eval.recorded(small.write(nowhere, columns))["models"]["one"]
    assert found == before | {"logprob_rows": 0}
    columns = small.columns()
    columns["models"]["one"]["preference"] = [None] * small.rows
    assert alpaca_eval.recorded(small.write(nowhere, columns))["models"]["one"]["win_rate"] == pytest.approx(
        before["win_rate"]
    )


def _row(small: SimpleNamespace, number: int, model: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(("m", "M"), model["logprob_m_M"][number], strict=True)
    top = [{"token": token, "logprob": value} for token, value in pairs]
    raw = {
        "finish_reason": "length",
        "logprobs": {"content": [{"token": "m", "top_logprobs": top}]},
        "tool_calls": None,
    }
    return {
        "instruction": f"instruction {number}",
        "generator_1": "gpt4_1106_preview",
        "output_1": small.baseline(number),
        "generator_2": "one",
        "output_2": "o" * model["len_output_2"][number],
        "annotator": "weighted_alpaca_eval_gpt4_turbo",
        "preference": str(model["preference"][number]),
        "raw_completion": (raw, str(raw), json.dumps(raw))[number % 3],
    }


def test_rows_in_alpaca_evals_own_form_score_the_same(nowhere: Path, small: SimpleNamespace) -> None:
    columns = small.columns()
    expected = alpaca_eval.recorded(small.write(nowhere, columns))["models"]["one"]
    rows = [_row(small, n, columns["models"]["one"]) for n in range(small.rows)]
    (nowhere / "annotations.json").write_text(json.dumps(rows))
    assert alpaca_eval.recorded(nowhere)["models"]["one"] == pytest.approx(expected)
    assert alpaca_eval.recorded(nowhere / "annotations.json")["models"]["one"] == pytest.approx(expected)


def test_rows_against_another_baseline_are_not_length_controlled(nowhere: Path, small: SimpleNamespace) -> None:
    columns = small.columns()
    rows = [_row(small, n, columns["models"]["one"]) | {"generator_1": "davinci"} for n in range(small.rows)]
    small.write(nowhere, columns)
    (nowhere / "annotations.json").write_text(json.dumps(rows))
    found = alpaca_eval.recorded(nowhere)["models"]["one"]
    assert found["length_controlled_winrate"] is None
    assert "davinci" in found["length_controlled_note"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c["instructions"].__setitem__(1, c["instructions"][0]), "'instruction 0' twice"),
        (lambda c: c["models"]["one"]["preference"].pop(), "one.preference holds 39 rows"),
        (lambda c: c["models"]["one"]["len_output_2"].append(1), "one.len_output_2 holds 41 rows"),
        (lambda c: c["models"]["one"]["preference"].__setitem__(2, "good"), r"models.one.preference.2"),
        (lambda c: c["models"]["one"]["preference"].__setitem__(2, 7), "one: row 2 holds 7"),
        (lambda c: c.pop("len_output_1"), "malformed at len_output_1"),
        (lambda c: c["models"].clear(), "no model's judgments"),
    ],
)
def test_bad_columns_are_named(
    nowhere: Path, small: SimpleNamespace, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    columns = small.columns()
    change(columns)
    nowhere.mkdir()
    (nowhere / "annotations.json").write_text(json.dumps(columns))
    with pytest.raises(DataError, match=told):
        alpaca_eval.recorded(nowhere)


def test_bad_files_are_named(nowhere: Path, small: SimpleNamespace) -> None:
    with pytest.raises(DataError, match=r"annotations\.json is missing"):
        alpaca_eval.recorded(nowhere)
    small.write(nowhere, small.columns())
    rows = [_row(small, 0, small.columns()["models"]["one"])] * 2
    (nowhere / "annotations.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"judgments of one.*'instruction 0' twice"):
        alpaca_eval.recorded(nowhere)
    (nowhere / "df_gamed.csv").write_text("model,index\nverbose,1\n")
    with pytest.raises(DataError, match=r"df_gamed\.csv has no column std_delta_len"):
        data.control(nowhere)
    (nowhere / "instruction_difficulty.csv").write_text("index,instruction_difficulty\n0,hard\n")
    with pytest.raises(DataError, match=r"instruction_difficulty\.csv:2 holds no number"):
        data.control(nowhere)
    (nowhere / "judge_prompt_alpaca_eval_clf.txt").write_text("<|im_start|>user\n{instruction}<|im_end|>")
    with pytest.raises(DataError, match="output_1"):
        data.prompt(nowhere)
