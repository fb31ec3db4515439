"""What a user can do wrong with a benchmark's files: every fault is named in one line, or counted. On made-up data."""

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiflow.bench.judges import Judge, rating
from aiflow.bench.suite import Sample
from aiflow.bench.suites import alpaca_eval, arena_hard, command, files, maths, mt_bench, vqa
from aiflow.bench.suites.alpaca_eval import data as alpaca_data
from aiflow.bench.suites.alpaca_eval.suite import ByJudge
from aiflow.cli import _main
from aiflow.errors import DataError
from aiflow.types import Answer, Message

NAN, INF = math.nan, math.inf


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def printed(capsys: pytest.CaptureFixture[str], name: str, which: str | None, data: Path) -> dict[str, Any]:
    """The models in the JSON line; an error where it holds NaN."""
    command.recorded(name, which=which, data=data, json=True)

    def refuse(word: str) -> None:
        raise AssertionError(f"the JSON holds {word}")

    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=refuse)["models"]
    return found


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "x.json.gz is empty; get it anew"),
        (gzip.compress(b""), "is empty"),
        (gzip.compress(b"[1, 2]")[:-4], "cannot be read .*get it anew"),
        (b"no gzip", "cannot be read"),
        (gzip.compress(b"[" * 100_000), "is no JSON .*recursion"),
        (gzip.compress(b'["\xe9"]'), "is no JSON .*utf-8"),
        (gzip.compress(b'{"a": 1, "b": {"a": 1}, "a": 2}'), "holds the id 'a' twice"),
    ],
    ids=range(7),  # a packed file holds its time: as a name it would differ between processes
)
def test_files_that_are_none(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "x.json.gz").write_bytes(content)
    with pytest.raises(DataError, match=told) as error:
        files.load(tmp_path / "x.json")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_not_told_to_be_no_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^[^(]*x\.json is missing; get it there\.$"):
        files.load(tmp_path / "x.json", "get it there.")


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    lines(tmp_path / "battles.jsonl", {})
    with pytest.raises(DataError, match=r"battles\.jsonl is a file; give the folder that holds question\.jsonl"):
        arena_hard.recorded(tmp_path / "battles.jsonl")


def alpaca(folder: Path, **model: Any) -> Path:
    """Three instructions, one model, and gamed rows for them."""
    one = {"preference": [1.2, 1.4, 1.9], "len_output_2": [10, 20, 70]} | model
    columns = {"len_output_1": [50, 60, 20], "models": {"one": one}}
    lines(folder / "annotations.json", columns)
    (folder / "instruction_difficulty.csv").write_text("instruction_difficulty\n0.1\n-0.5\n0.7\n")
    gamed = ["std_delta_len,instruction_difficulty,preference", *["0.5,0.1,0.4", "-0.5,0.3,0.6"] * 3]
    (folder / "df_gamed.csv").write_text("\n".join(gamed))
    (folder / "glm_coefficients_200models.csv").write_text(
        "model,np.tanh(std_delta_len),instruction_difficulty,not_gamed_baseline.astype(float)\n"
    )
    return folder


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"preference": [None, NAN, 1.5]}, {"n_unparsed": 2, "n_total": 1}),
        ({"preference": [None] * 3, "published": {"win_rate": NAN}}, {"n_unparsed": 3, "win_rate": None}),
        ({"preference": [None] * 3, "len_output_2": [None] * 3}, {"n_missing": 3, "avg_length": None}),
        ({"len_output_2": [NAN, 20, 30]}, {"length_controlled_winrate": None, "n_total": 3}),
        ({"preference": [None, 1.1, 1.2], "logprob_m_M": [[NAN, -1.0], None, None]}, {"n_unparsed": 1}),
    ],
)
def test_what_alpaca_eval_cannot_know_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = printed(capsys, "alpaca-eval", None, alpaca(tmp_path, **model))["one"]
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "model",
    [{"preference": [True, 1.1, 1.2]}, {"len_output_2": [-1, 2, 3]}, {"len_output_2": [INF, 2, 3]}],
)
def test_what_is_no_number_of_alpaca_eval(tmp_path: Path, model: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"annotations\.json is malformed at models\.one\.\w+\.0"):
        alpaca_eval.recorded(alpaca(tmp_path, **model))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda text: text[:1], "holds 0 rows for 3 instructions, not 2 each"),
        (lambda text: text[:4], "holds 3 rows"),
        (lambda text: [*text[:6], b"nan,0.1,0.4"], "no length or difficulty"),
        (lambda text: [*text[:6], b"\xff,0.1,0.4"], "is no UTF-8"),
        (lambda text: [*text[:6], b'"' + b"x" * 200_000], "holds no number"),
    ],
)
def test_spoiled_gamed_rows_give_no_length_control(
    tmp_path: Path, spoil: Callable[[list[bytes]], list[bytes]], told: str
) -> None:
    path = alpaca(tmp_path) / "df_gamed.csv"
    path.write_bytes(b"\n".join(spoil(path.read_bytes().splitlines())))
    found = alpaca_eval.recorded(tmp_path)["models"]["one"]
    assert found["length_controlled_winrate"] is None
    assert told in found["length_controlled_note"]
    with pytest.raises(DataError, match=told):
        alpaca_data.control(tmp_path)


class _Says:
    """A judge that says ``m``, the probability of which its server does not tell."""

    name = "odd"

    async def ask(self, *_: Any, **__: Any) -> Answer:
        return Answer(text="m", logprobs=((("M", -1.0),),))


async def test_a_verdict_without_its_probability_is_unread() -> None:
    grade = ByJudge(Judge(agent=_Says()), (Message("user", "{instruction}{output_1}{output_2}"),))  # type: ignore[arg-type]
    sample = Sample(id="0", category="", turns=("?",), data={"baseline": "b"})
    assert (await grade(sample, ["a"])).score is None


def judged(folder: Path, *replies: Any) -> Path:
    """MT-Bench of one question and the judge's words on its two turns."""
    lines(folder / "question.jsonl", {"question_id": 81, "category": "writing", "turns": ["a", "b"]})
    rows = [{"question_id": 81, "turn_number": turn, "judge_reply": reply} for turn, reply in enumerate(replies)]
    lines(folder / "recorded" / "gpt4_judge_replies.json", {"m": rows} if rows else {})
    return folder


def test_judges_of_mt_bench_that_say_nothing_or_too_much(tmp_path: Path) -> None:
    found = mt_bench.recorded(judged(tmp_path, None, "[[2024]]"))["models"]["m"]
    assert (found["n"], found["unparsed"], found["off_scale"], found["average"]) == (1, 1, 1, 2024.0)
    found = mt_bench.recorded(judged(tmp_path, f"[[{'9' * 400}]]", "[[7]]"))["models"]["m"]
    assert (found["n"], found["unparsed"], found["off_scale"]) == (1, 1, 0)
    assert rating(f"[[{'9' * 400}]]") is None
    with pytest.raises(DataError, match="holds no judgments; add"):
        mt_bench.recorded(judged(tmp_path))


def battle(number: int, **more: Any) -> dict[str, Any]:
    return {"question_id": f"q{number}", "model_a": "gpt-4-0314", "model_b": "m", "winner": "model_a"} | more


def test_battles_that_cannot_be(tmp_path: Path) -> None:
    path = lines(tmp_path / "battles.jsonl", *[battle(0)] * 6, battle(1))
    assert arena_hard.recorded(tmp_path)["models"]["m"]["n_battles"] == 7
    lines(path, *[battle(0)] * 7)
    with pytest.raises(DataError, match=r"battles\.jsonl:7: more than 6 battles of gpt-4-0314 and m on question q0"):
        arena_hard.recorded(tmp_path)
    lines(path, battle(0, model_b="gpt-4-0314"))
    with pytest.raises(DataError, match=r":1 is a battle of 'gpt-4-0314' against itself"):
        arena_hard.recorded(tmp_path)
    lines(path, battle(0))
    (tmp_path / "judge_config.yaml").write_text("a: [1")
    with pytest.raises(DataError, match=r"is no YAML") as error:
        arena_hard.recorded(tmp_path)
    assert "\n" not in str(error.value)


def choices(folder: Path, *rows: dict[str, Any], suite: str = "MMStar") -> Path:
    given = {"question": "?", "answer": "A", "options": {"A": "cat", "B": "dog"}, "prediction": {"m": "A"}}
    return lines(folder / f"{suite}.jsonl", *({"index": n} | given | row for n, row in enumerate(rows)))


def test_a_missing_prediction_makes_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = choices(tmp_path, {}, {"prediction": None}, {"prediction": {"m": NAN}})
    found = printed(capsys, "vqa", "MMStar", path)
    assert list(found) == ["m"]
    assert (found["m"]["n"], found["m"]["absent"], found["m"]["empty"]) == (2, 1, 1)
    with pytest.raises(DataError, match=r"MMStar\.jsonl:2 names no model of its answer"):
        vqa.recorded("MMStar", choices(tmp_path, {}, {"prediction": "A"}))


def test_questions_without_a_right_answer_are_counted(tmp_path: Path) -> None:
    found = vqa.recorded("MMStar", choices(tmp_path, {}, {"answer": "cat"}, {"answer": None}))["models"]["m"]
    assert (found["n"], found["unkeyed"], found["score"]) == (3, 2, pytest.approx(1 / 3))
    for row in ({"answer": "a"}, {"options": {}}, {"options": {"a": "cat", "b": "dog"}}):
        with pytest.raises(DataError, match=r"MMStar\.jsonl: MMStar, m: no question has a right answer"):
            vqa.recorded("MMStar", choices(tmp_path, row, row))
    with pytest.raises(DataError, match="options that are neither a list nor named by letters"):
        vqa.recorded("MMStar", choices(tmp_path, {"options": "cat or dog"}))


def test_an_empty_option_is_none(tmp_path: Path) -> None:
    for options in ({"A": "cat", "B": "", "C": None}, ["cat", "", None]):
        path = choices(tmp_path, {"options": options, "prediction": {"m": "It is the cat."}})
        assert vqa.recorded("MMStar", path)["models"]["m"]["score"] == 1.0


def test_pope_takes_its_gold_in_any_case(tmp_path: Path) -> None:
    rows = [{"answer": answer, "prediction": {"m": "Yes."}, "category": "adversarial"} for answer in ("yes", "no")]
    found = vqa.recorded("POPE", choices(tmp_path, *rows, suite="POPE"))["models"]["m"]
    assert (found["precision"], found["recall"], found["Overall"]) == (50.0, 100.0, pytest.approx(200 / 3))


def test_rows_of_gsm8k_that_come_twice(tmp_path: Path) -> None:
    row = {"question": "q", "ground_truth": "#### 3", "m": {"solution": "#### 3"}}
    path = lines(tmp_path / "example_model_solutions.jsonl", row, row)
    with pytest.raises(DataError, match="twice"):
        maths.recorded("gsm8k", path)
    lines(path, row, {"question": "r", "ground_truth": "#### 3"})
    with pytest.raises(DataError, match="m solved not all 2 problems"):
        maths.recorded("gsm8k", path)
    with pytest.raises(DataError, match="twice"):
        maths.suite("gsm8k", lines(tmp_path / "test.jsonl", *[{"question": "q", "answer": "#### 3"}] * 2))


def test_suites_of_mathematics_in_any_spelling() -> None:
    assert [maths.spelled(name) for name in ("GSM8K", "MATH 500", "AIME2024", "x")] == [*maths.NAMES, "x"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("bench mt-bench --recorded --model scripted:a", 2, "--recorded asks nobody"),
        ("bench cot --recorded --limit 3", 2, "leave --limit out"),
        ("bench mt-bench --server scripted:a", 2, "nobody is asked"),
        ("bench maths --suite gsm9k --recorded", 2, "did you mean 'gsm8k'?"),
        ("bench cot --model scripted:a --data {} --out {}/questions.json", 2, "cannot be written to"),
        ("bench maths --suite gsm8k --recorded --data {}/questions.json", 2, "has no ground_truth"),
        ("bench cot --model scripted:a --data {} --out {}/o --report {}/questions.json/r", 1, "check the path"),
    ],
)
def test_what_the_command_line_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    code: int,
    told: str,
) -> None:
    lines(tmp_path / "questions.json", {"gsm8k": {"1": {"question": "1 + 1?", "answer": "#### 2"}}})
    monkeypatch.setattr("sys.argv", ["aiflow", *words.replace("{}", str(tmp_path)).split()])
    assert _main() == code
    assert told in capsys.readouterr().err.splitlines()[-1]
