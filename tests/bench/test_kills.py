"""A real client process is killed while it asks a real server, and goes on: what was answered is not asked again."""

import json
from pathlib import Path

import pytest

from aiflow.bench.live import kills

SHOWN = {  # the places that the protocol fills
    "single-v1": "{question}\n{answer}\nRate.",
    "single-v1-multi-turn": "{question_1}\n{answer_1}\n{question_2}\n{answer_2}\nRate.",
    "pair-v2": "{question}\n{answer_a}\n{answer_b}",
    "pair-v2-multi-turn": "{question_1}{answer_a_1}{answer_b_1}{question_2}{answer_a_2}{answer_b_2}",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    questions = [
        {"question_id": 81 + n, "category": "writing", "turns": [f"Calculate {n} x 2.", "And one more?"]}
        for n in range(4)
    ]
    (tmp_path / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    maths = {name.replace("-v", "-math-v").replace("-v2", "-v1"): text for name, text in SHOWN.items()}
    shown = {**SHOWN, **maths}
    prompts = [{"name": name, "system_prompt": "You judge.", "prompt_template": text} for name, text in shown.items()]
    (tmp_path / "judge_prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    return tmp_path


@pytest.mark.slow
def test_a_killed_run_asks_nothing_again_that_it_has_written_down(data: Path, tmp_path: Path) -> None:
    found = kills.main(data=data, questions=4, how=("both",), parallel=2, out=tmp_path / "out")
    whole = found["undisturbed"]
    assert (whole["repeated"], whole["errors"], whole["records"]) == (0, 0, 12)
    killed = found["both"]
    assert killed["repeated"] <= 2 * 4  # SIGTERM waits for answers under way; only at the SIGKILL some may be lost
    assert (killed["status"], killed["distinct"]) == ("success", whole["distinct"])
    assert killed["models"] == whole["models"]
