"""A small folder of AlpacaEval's recorded form: 40 instructions, one model, made-up preferences and lengths."""

import csv
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiflow.bench.suites import files
from aiflow.bench.suites.alpaca_eval.score import switched

ROWS = 40
PROMPT = (
    "<|im_start|>system\nYou compare.\n<|im_end|>\n<|im_start|>user\n"
    "{instruction}\n[m] {output_1}\n[M] {output_2}\nm or M?\n<|im_end|>"
)


def make_columns(seed: int = 0) -> dict[str, Any]:
    rng = random.Random(seed)
    instructions = [f"instruction {n}" for n in range(ROWS)]
    model: dict[str, Any] = {"preference": [], "len_output_2": [], "logprob_m_M": []}
    for text in instructions:
        p = rng.uniform(0.05, 0.95)
        model["logprob_m_M"].append([math.log(p), math.log(1 - p)])
        model["preference"].append(1 + p if switched(text) else 2 - p)
        model["len_output_2"].append(rng.randint(50, 900))
    return {
        "instructions": instructions,
        "dataset": ["koala" if n % 2 else "vicuna" for n in range(ROWS)],
        "len_output_1": [len(baseline(n)) for n in range(ROWS)],
        "models": {"one": model},
    }


def baseline(number: int) -> str:
    return "b" * (100 + 7 * number)


def write(folder: Path, columns: dict[str, Any], *, control: bool = True) -> Path:
    (folder / "model_outputs").mkdir(parents=True, exist_ok=True)
    (folder / "annotations.json").write_text(json.dumps(columns))
    (folder / "judge_prompt_alpaca_eval_clf.txt").write_text(PROMPT)
    models = {"gpt4_1106_preview": baseline, "one": lambda n: "o" * columns["models"]["one"]["len_output_2"][n]}
    for name, say in models.items():
        rows = [
            {"i": n, "output": say(n)} for n in range(ROWS) if columns["models"]["one"]["len_output_2"][n] is not None
        ]
        (folder / "model_outputs" / f"{name}.json").write_text(json.dumps(rows))
    if control:
        rng = random.Random(1)
        hard = [rng.gauss(0, 1) for _ in range(ROWS)]
        _table(folder / "instruction_difficulty.csv", ["", "instruction_difficulty"], list(enumerate(hard)))
        head = ["model", "index", "std_delta_len", "instruction_difficulty", "preference", "not_gamed_baseline"]
        rows = [
            ["verbose", n % ROWS, rng.gauss(-1, 2), hard[n % ROWS], rng.uniform(0.2, 0.9), False]
            for n in range(2 * ROWS)
        ]
        _table(folder / "df_gamed.csv", head, rows)
    return folder


def _table(path: Path, head: list[str], rows: list[Any]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place from which no default folder is seen, and nothing is fetched."""
    monkeypatch.setattr(files, "__file__", str(tmp_path / "a" / "b" / "c" / "files.py"))
    monkeypatch.setenv("AIFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AIFLOW_OFFLINE", "1")
    monkeypatch.delenv("AIFLOW_DATA", raising=False)
    return tmp_path / "data"


@pytest.fixture
def small() -> SimpleNamespace:
    """How the folder is made: ``columns()``, ``write(folder, columns)``, ``baseline(number)``, ``rows``."""
    return SimpleNamespace(columns=make_columns, write=write, baseline=baseline, rows=ROWS)
