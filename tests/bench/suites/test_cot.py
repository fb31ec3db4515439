"""Chain-of-thought tasks: FastEval's reading rules, its scores from the texts alone, and what bad files say."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.bench import runner
from aiflow.bench.subjects import Recorded
from aiflow.bench.suites import cot, files
from aiflow.bench.suites.cot import latex
from aiflow.bench.suites.cot.score import credit, extract, gold_vote, scores
from aiflow.errors import DataError, InputError


def _here() -> bool:
    try:
        files.locate("cot", None, "questions.json")
    except DataError:
        return False
    return True


needs_data = pytest.mark.skipif(not _here(), reason="the recorded data is not here")
CHOICE = "Which?\n(A) red\n(B) blue\n(C) green"


@pytest.mark.parametrize(
    ("text", "vote"),
    [
        ("First (A), then\nthe answer is (B).", "B"),
        ("(A) is wrong, so (C)", "C"),
        ("The answer is B", "B"),
        ("Answer:C", "C"),
        ("It is C) green", "C"),
        ("A dog\nI would say blue", "B"),  # no letter in the last line, one at the start of the first does not count
        ("green, not red", "A"),  # the last option named in the line
        ("(D)", None),
        ("", None),
    ],
)
def test_votes_for_options(text: str, vote: str | None) -> None:
    assert extract("bbh/colors", text, CHOICE) == vote
    assert credit("bbh/colors", vote, "B", CHOICE) == (1 / 3 if vote is None else float(vote == "B"))


@pytest.mark.parametrize(
    ("text", "vote"),
    [
        ("so 3 + 4 = 7\nDone.", "7"),
        ("total $1,234.50.", "1234.5"),
        ("007", "7"),
        ("from 3 to 0.0", "0"),
        ("-5", "5"),  # the rule knows no sign
        ("none", None),
    ],
)
def test_votes_for_numbers(text: str, vote: str | None) -> None:
    assert extract("gsm8k", text) == vote


@pytest.mark.parametrize(
    ("text", "vote"),
    [
        ("Thus $x = \\dfrac{1}{2}$.", "\\frac{1}{2}"),
        ("The answer is 42.", "42"),
        ("\\[\\boxed{3\\sqrt2}\\]\n\nI hope this helps", "3\\sqrt{2}"),
        ("about 1/2", "\\frac{1}{2}"),
        ("so 0.5", "\\frac{1}{2}"),
        ("it is $5 \\text{ cm}$", "5"),
        ("$1 \\text{ m} 2 \\text{ cm}$", "1 \\text{ m} 2 \\text{ cm}"),  # beyond the rule: as it stands
        ("no number", None),
    ],
)
def test_votes_for_formulas(text: str, vote: str | None) -> None:
    assert extract("math", text) == vote


@settings(max_examples=300)
@given(st.text(st.sampled_from("\\{}()[]$,.=^/ 019xABC\nfracsqrttext∞"), max_size=40))
def test_no_text_breaks_the_rules(text: str) -> None:
    for task in ("gsm8k", "math", "mmlu/any"):
        vote = extract(task, text, CHOICE)
        assert vote is None or cot.correct(task, vote, vote)
        assert not cot.correct(task, None, "1")
    latex.boxed(text)


@pytest.mark.parametrize(
    ("task", "answer", "vote"),
    [
        ("gsm8k", "work\n#### 1,200", "1200"),
        ("gsm8k", "no mark 7", None),
        ("math", r"So \boxed{\dfrac{1}{2}}.", r"\frac{1}{2}"),
        ("math", "no box", None),
        ("bbh/x", "(B)", "B"),
        ("mmlu/x", 2, "C"),
        ("mmlu/x", 99, None),
    ],
)
def test_gold(task: str, answer: str | int, vote: str | None) -> None:
    assert gold_vote(task, answer) == vote


def test_the_total_weighs_math_twice_and_needs_all_parts() -> None:
    found = scores({"gsm8k": [1.0, 0.0], "math": [1.0], "bbh/a": [1.0], "bbh/b": [0.0, 0.0], "mmlu/a": [0.0]})
    assert found == {"gsm8k": 0.5, "math": 1.0, "bbh": 0.5, "mmlu": 0.0, "total": pytest.approx(0.6)}
    assert scores({"gsm8k": [1.0]})["total"] is None


def _folder(tmp_path: Path, answers: Any, questions: Any = None) -> Path:
    known = {
        "gsm8k": {"4": {"question": "1+1?", "answer": "#### 2"}},
        "math": {"7": {"question": "Half?", "answer": r"\boxed{\frac12}"}},
        "bbh/colors": {"0": {"question": CHOICE, "answer": "(B)"}, "1": {"question": CHOICE, "answer": "blue-ish"}},
        "mmlu/colors": {"0": {"question": CHOICE, "answer": 0}},
    }
    (tmp_path / "questions.json").write_text(json.dumps(questions or known))
    (tmp_path / "recorded").mkdir()
    (tmp_path / "recorded" / "me--small.json.gz").write_bytes(gzip.compress(json.dumps(answers).encode()))
    return tmp_path


SAID = {
    "gsm8k": [[4, "2", True]],
    "math": [[7, "$0.5$", False]],
    "bbh/colors": [[0, "(B)", True], [1, "(B)", False]],
    "mmlu/colors": [[0, "what?", 0.3333333333333333]],
}


def test_a_folder_of_the_same_form(tmp_path: Path) -> None:
    folder = _folder(tmp_path, SAID)
    row = cot.recorded(folder)["models"]["me--small"]
    assert row["total"] == pytest.approx(0.2 + 0.4 + 0.1 + 0.2 / 3)
    assert row["unparsed"] == {"gsm8k": 0, "math": 0, "bbh": 0, "mmlu": 1}
    assert (row["disagreements"], row["published"]) == (1, None)
    alone = folder / "recorded" / "me--small.json.gz"
    assert cot.recorded(alone) == cot.recorded(folder)
    vote = cot.votes(folder)["me--small"]["math"]["7"]
    assert (vote.vote, vote.correct, vote.credit) == ("\\frac{1}{2}", True, 1.0)


def test_missing_answers_are_counted(tmp_path: Path) -> None:
    row = cot.recorded(_folder(tmp_path, {"gsm8k": SAID["gsm8k"]}))["models"]["me--small"]
    assert row["missing"] == {"gsm8k": 0, "math": 1, "bbh": 2, "mmlu": 1}
    assert (row["gsm8k"], row["math"], row["total"]) == (1.0, None, None)


@pytest.mark.parametrize(
    ("answers", "questions", "told"),
    [
        ({"gsm8k": [[5, "2", True]]}, None, "questions.json lacks: 5"),
        ({"gsm8k": [[4, "2", True], [4, "3", True]]}, None, "'4' twice"),
        ({"gsm8k": [[4, None, True]]}, None, "malformed at gsm8k.0.1"),
        (SAID, {"gsm8k": {"4": {"question": "q", "answer": "two"}}}, "question 4: no right answer in 'two'"),
        (SAID, {"bbh/x": {"4": {"question": "q", "answer": "(A)"}}}, "options"),
        (SAID, {"chess": {}}, "questions.json: .chess. is no task"),
    ],
)
def test_bad_files(answers: Any, questions: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        cot.recorded(_folder(tmp_path, answers, questions))


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"questions\.json is missing"):
        cot.recorded(tmp_path)
    with pytest.raises(InputError, match="no task"):
        extract("chess/mate", "1")
    with pytest.raises(InputError, match="options"):
        extract("mmlu/any", "(A)")
    with pytest.raises(InputError, match="gsm8k, math"):
        cot.suite(tmp_path, benchmarks=["chess"])


async def test_a_live_run(tmp_path: Path) -> None:
    suite = cot.suite(_folder(tmp_path, SAID), limit=1)
    assert [sample.id for sample in suite.samples] == ["gsm8k/4", "math/7", "bbh/colors/0", "mmlu/colors/0"]
    replayed = Recorded("m", {"gsm8k/4": ("2",), "math/7": ("1",), "bbh/colors/0": ("(B)",), "mmlu/colors/0": ("?",)})
    records = (await runner.run(suite, [replayed]))["m"]
    assert suite.summary is not None
    found = suite.summary(records)
    assert found["total"] == pytest.approx(0.2 + 0.2 + 0.2 / 3)
    assert (found["unparsed"], found["errors"], found["math"]) == (1, 0, 0.0)


@needs_data
def test_published_scores_and_verdicts_are_met_exactly() -> None:
    found = cot.recorded()
    assert len(found["models"]) >= 7
    for model, row in found["models"].items():
        assert row["disagreements"] == 0, model
        if row["published"]:
            assert {name: row[name] for name in row["published"]} == row["published"], model
    assert found["models"]["gpt-4-0613"]["published"]["total"] == pytest.approx(0.708172342621259)
    json.dumps(found, allow_nan=False)


@needs_data
def test_a_broken_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first option instead of the last one moves the scores."""
    monkeypatch.setattr(
        "aiflow.bench.suites.cot.extract", lambda task, text, question: extract(task, text[:200], question)
    )
    assert all(row["disagreements"] > 100 for row in cot.recorded()["models"].values())
