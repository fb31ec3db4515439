"""Suites to be asked live: what is asked, how it is graded with and without a judge, what the run's records publish."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.judges.judge import Judge
from aiflow.bench.runner import run
from aiflow.bench.subjects import Recorded
from aiflow.bench.suite import Suite
from aiflow.bench.suites.vqa import answers, recorded, suite
from aiflow.bench.suites.vqa.prompts import LETTER, LETTER_CN, SHORT
from aiflow.types import Answer, Options


@dataclass
class Says:
    """A judge that says what it is told to, in turn."""

    words: Sequence[str]
    name: str = "judge"
    about: str = ""
    node: str = "cloud"
    asked: list[str] = field(default_factory=list)

    async def ask(self, messages: Any, **how: Any) -> Answer:
        assert isinstance(how["options"], Options)
        self.asked.append(messages[-1].text)
        return Answer(text=self.words[len(self.asked) - 1])


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def choices(folder: Path) -> Path:
    """MMStar's questions: one that the rule reads, two that it does not."""
    common = {"A": "a cat", "B": "a dog", "answer": "B", "category": "animals"}
    said = ["B", "It barks.", "It meows."]
    return write(
        folder / "MMStar.jsonl",
        [
            {"index": n, "question": f"Who is {n}?", **common, "prediction": {"m": text}, "hit": {"m": 0}}
            for n, text in enumerate(said)
        ],
    )


async def summary(made: Suite, data: Path) -> dict[str, Any]:
    said = answers(made.name, data)
    records = await run(made, [Recorded(name=model, answers=texts) for model, texts in said.items()])
    assert made.summary is not None
    return {model: dict(made.summary(found)) for model, found in records.items()}


async def test_a_run_of_recorded_answers_publishes_what_is_recorded(tmp_path: Path) -> None:
    path = choices(tmp_path)
    found = await summary(suite("MMStar", path, images=False), path)
    known = recorded("MMStar", path)["models"]["m"]
    assert known.pop("disagree") == 1
    assert found == {"m": known}
    assert (known["score"], known["unmatched"]) == (pytest.approx(1 / 3), 2)


async def test_a_judge_matches_what_the_rule_cannot_read(tmp_path: Path) -> None:
    path = choices(tmp_path)
    judge = Says(["B", "Z"])
    found = await summary(suite("MMStar", path, Judge(agent=judge), images=False), path)
    assert (found["m"]["score"], found["m"]["unmatched"]) == (pytest.approx(2 / 3), 1)
    assert len(judge.asked) == 2
    assert "Who is 1?" in judge.asked[0]
    assert "It barks." in judge.asked[0]


async def test_a_judge_that_babbles_is_counted_apart(tmp_path: Path) -> None:
    path = choices(tmp_path)
    judge = Says(["well", "hm", "A or B", "?"])
    found = await summary(suite("MMStar", path, Judge(agent=judge), images=False), path)
    assert (found["m"]["score"], found["m"]["n"], found["m"]["unjudged"]) == (1.0, 1, 2)


async def test_yes_and_no_by_a_judge(tmp_path: Path) -> None:
    rows = [
        {"index": n, "question": "Is it?", "answer": "No", "category": "random", "prediction": {"m": "It is not."}}
        for n in range(2)
    ]
    path = write(tmp_path / "POPE.jsonl", rows)
    found = await summary(suite("POPE", path, Judge(agent=Says(["No.", "Unknown"])), images=False), path)
    assert (found["m"]["acc"], found["m"]["unparsed"]) == (50.0, 1)


def asked(folder: Path, name: str, **row: Any) -> str:
    path = write(folder / f"{name}.jsonl", [{"index": 1, "answer": "A", "category": "c", **row}])
    return suite(name, path, images=False).samples[0].turns[0]


def test_what_is_asked(tmp_path: Path) -> None:
    options = {"A": "x", "B": "y", "C": None}
    assert asked(tmp_path, "MMStar", question="Who?", hint="Look.", **options) == f"Look.\nWho?\nA. x\nB. y\n{LETTER}"
    assert asked(tmp_path, "CCBench", question="谁?", **options) == f"谁?\nA. x\nB. y\n{LETTER_CN}"
    assert asked(tmp_path, "DocVQA_VAL", question="Who?") == f"Who?\n{SHORT}"
    assert asked(tmp_path, "OCRBench", question="what is written?") == "what is written?"
    stated = "Is it? Please answer yes or no."
    assert asked(tmp_path, "MME", question=stated, image_path="a.jpg") == stated
    assert asked(tmp_path, "POPE", question="Is it?") == f"Is it?\n{SHORT}"
    own = {"question_type": "multiple-choice", "options": {"A": "x", "B": "y"}}
    assert asked(tmp_path, "MMMU", question="Who?", **own) == f"Who?\n\n(A) x\n(B) y\n\n{LETTER}"


def test_what_a_sample_holds(tmp_path: Path) -> None:
    rows = [
        {"index": n, "question": "?", "A": "x", "B": "y", "answer": "A", "score": 1, "l2-category": "LR", "bonus": 3}
        for n in (4, 1_000_004)
    ]
    first, second = suite("CCBench", write(tmp_path / "CCBench.jsonl", rows), images=False).samples
    assert first.group == second.group == "4"
    assert (first.id, first.category, first.references) == ("4", "CCBench", ("A",))
    assert first.data == {
        "l2-category": "LR", "bonus": 3, "options": {"A": "x", "B": "y"}, "answer": "A", "split": "", "image": "",
    }  # fmt: skip
    assert first.options == Options(max_tokens=512)


async def test_questions_without_their_image_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows = [
        {"index": n, "question": "?", "answer": "7", "image_path": name, "prediction": {"m": "7"}}
        for n, name in enumerate(("a.png", "b.png"))
    ]
    path = write(tmp_path / "DocVQA_VAL.jsonl", rows)
    found = await summary(suite("DocVQA", path), path)
    assert (found["m"]["Overall"], found["m"]["n"], found["m"]["left_out"]) == (100.0, 1, 1)


async def test_a_run_of_some_rotations_says_so(tmp_path: Path) -> None:
    rows = [
        {"index": n + turn, "question": "?", "A": "x", "B": "y", "answer": "A", "prediction": {"m": "A"}}
        for n in (1, 2, 3)
        for turn in (0, 1_000_000)
    ]
    path = write(tmp_path / "CCBench.jsonl", rows)
    whole = suite("CCBench", path, images=False)
    found = await summary(whole, path)
    assert (found["m"]["n"], "partial" in found["m"]) == (3, False)
    some = replace(whole, samples=[whole.samples[0], whole.samples[1], whole.samples[2], whole.samples[5]])
    found = await summary(some, path)
    assert [found["m"][name] for name in ("n", "rows", "orphans", "partial")] == [2, 4, 1, 2]
    found = await summary(replace(whole, samples=whole.samples[1:2]), path)
    assert (found["m"]["score"], found["m"]["partial"]) == (None, 1)
