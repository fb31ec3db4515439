"""Model cards say what was measured."""

import json
from pathlib import Path

from aiflow.nano.cards import card

SCORES = {
    "suite": {"questions": 8, "seed": 7},
    "devices": {"math": {"all": {"score": 0.75, "n": 4}}},
    "revise": {"math": {"keeps right answers in its domain": {"score": 0.5, "n": 2}}},
    "server": {"select": {"first": {"score": 0.9, "n": 16}}},
}
REPORT = {
    "seed": 3,
    "step": 12,
    "tokens": 34567,
    "parameters": 430080,
    "seconds": 1800.0,
    "threads": 1,
    "versions": {"torch": "2.0"},
}


def test_a_card_tells_data_hours_seed_versions_and_scores(tmp_path: Path) -> None:
    for model in ("base", "math", "server"):
        (tmp_path / model).mkdir()
        (tmp_path / model / "training.json").write_text(json.dumps(REPORT))
    math = card(tmp_path, "math", SCORES)
    for part in (
        "seed 3",
        "12 steps",
        "34,567 tokens",
        "0.50 hours",
        "torch 2.0",
        "| all | 75.0% | 4 |",
        "base_model: aiflow:nano/base",
        "cannot be held out",
    ):
        assert part in math, part
    assert "select: first | 90.0%" in card(tmp_path, "server", SCORES)
    assert "no score of its own" in card(tmp_path, "base", SCORES)
