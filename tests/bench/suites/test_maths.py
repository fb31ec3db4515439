"""Maths suites: what is read out of a text, what counts as equal (and what must not), and recorded models."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.bench import runner
from aiflow.bench.subjects import Recorded
from aiflow.bench.suites import files, maths
from aiflow.bench.suites.maths import extract
from aiflow.bench.suites.maths.data import EXAMPLES, problems
from aiflow.bench.suites.maths.equal import equal
from aiflow.bench.suites.maths.score import RULES, pass_at_k
from aiflow.bench.suites.maths.suite import summarise
from aiflow.errors import DataError, InputError
from aiflow.types import Options


def _here() -> bool:
    try:
        files.locate("gsm8k", None, EXAMPLES[0])
        files.locate("math", None, "math500.jsonl")
        files.locate("math", None, "aime2024.jsonl")
    except DataError:
        return False
    return True


needs_data = pytest.mark.skipif(not _here(), reason="the recorded data is not here")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("6 + 3 = 9\n#### 9", "9"),
        ("#### 1\n#### $1,250.50.", "1250.50"),
        ("A: 18", "18"),
        ("She has 3.\nAnswer: -4 apples", "-4"),
        ("So \\boxed{\\$1{,}080} in all, 7 times", "1080"),
        ("The answer is 12. That took 5 steps", "12"),
        ("it costs $18.", "18"),
        ("1,234,567 people", "1234567"),
        (".5 of it", ".5"),
        ("A: nothing", None),
        ("no idea", None),
        ("", None),
    ],
)
def test_what_gsm8k_reads(text: str, found: str | None) -> None:
    assert extract.gsm8k(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{1} or \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\framebox{204}", "204"),
        (r"\boxed 5.", "5"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{3} and then \boxed{4", "3"),
        ("The final answer is: $x+1$. I hope so.", "x+1"),
        ("the answer is 3.5.", "3.5"),
        (r"\boxed{}", None),
        ("I think so", None),
    ],
)
def test_what_math_reads(text: str, found: str | None) -> None:
    assert extract.math(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{025}", "25"),
        (r"\boxed{m+n=113}", "113"),
        (r"\boxed{\textbf{(113) }}", "113"),
        (r"\boxed{000}", "0"),
        (r"\boxed{1000}", None),
        (r"\boxed{-3}", None),
        (r"\boxed{2.5}", None),
        ("113", None),
    ],
)
def test_aime_takes_integers_of_three_digits(text: str, found: str | None) -> None:
    assert extract.aime(text) == found


EQUAL = [
    (r"\frac12", "0.5"),
    (r"\dfrac{3}{6}", "1/2"),
    (r"1\frac{4}{5}", "1.8"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"),
    (r"10,\!080", "10{,}080"),
    (r"\$32,\!348", "32348"),
    (r"90^\circ", "90"),
    (r"\text{Evelyn}", "evelyn"),
    (r"864 \mbox{ inches}^2", "864 square inches"),
    (r"5.4 \text{ cents}", "5.4"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt3}"),
    ("p - q", "-q+p"),
    (r"(a+5)(b+2)", "ab+2a+5b+10"),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
    (r"x \in [-2,7]", "[-2,7]"),
    ("y = 2x + 3", "2x+3"),
    ("5x - 7y + 11z + 4 = 0", "-5x+7y-11z-4=0"),
    (r"\text{(C)}", "C"),
    (r"(0,9) \cup (9,36)", r"(9,36)\cup(0,9)"),
    (r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}", r"\begin{bmatrix} -\frac13 \\ \frac{2}{3} \end{bmatrix}"),
    (r"\cot x", r"\cot(x)"),
    ("3, 5, 7", "7, 3 and 5"),
    ("4210_{5}", "4210_5"),
]
DIFFERENT = [
    ("0.333", r"\frac13"),
    ("0.3333333333333", r"\frac13"),
    (r"\sqrt5", "2.236"),
    ("(1,2)", "(2,1)"),
    ("(1,2]", "[1,2]"),
    ("(1,2)", "1,2"),
    ("1,2", "1,2,3"),
    ("2516_8", "2516"),
    ("x=5", "y=5"),
    ("p-q", "q-p"),
    ("y=2x+3", "y=2x+4"),
    (r"\text{east}", "seat"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
    (r"\text{(C)}", "(D)"),
    ("3:2", "1.5"),
    ("9^9^9^9", "9"),
    ("((" * 300, "1"),
    (r"\frac", "1"),
    ("", ""),
    ("", "0"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_answers(one: str, other: str) -> None:
    assert equal(one, other)
    assert equal(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_near_misses(one: str, other: str) -> None:
    assert not equal(one, other)
    assert not equal(other, one)


@given(st.fractions(max_denominator=50), st.fractions(max_denominator=50))
def test_rationals_are_compared_exactly(a: object, b: object) -> None:
    def latex(x: object) -> str:
        whole, _, part = str(x).partition("/")
        sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
        return f"{sign}\\dfrac{{{digits}}}{{{part}}}" if part else whole

    assert equal(latex(a), str(b)) == (a == b)


@settings(max_examples=300)
@given(st.text(st.sampled_from("\\{}()[]$,.=^_/+-*&|% 019ixyπfracsqrt\n"), max_size=30))
def test_no_text_breaks_the_rules(text: str) -> None:
    for rule in (extract.gsm8k, extract.math, extract.aime):
        assert rule(text) != ""
    assert equal(text, text) in (True, False)
    assert extract.math(f"so \\boxed{{{7}}} {text.replace('box', '')}") is not None


@pytest.mark.parametrize(
    "text",
    ["5 " + "m" * 900 + "!", r"\sqrt{" * 900, r"\sqrt" * 190, r"\{" * 400 + "1" + r"\}" * 90, "(1," * 300, "9" * 5000],
)
def test_babble_is_refused_quickly(text: str) -> None:
    assert not equal(text, "5")
    assert not equal(text, r"\frac{1}{2}")
    for rule in (extract.gsm8k, extract.math, extract.aime):
        rule(f"\\boxed{{{text}}} {text}")
    found = extract.gsm8k(text)
    assert found is None or RULES["gsm8k"].equal(found, "5") == (found == "5")


def _binomial(n: int, c: int, k: int) -> float:
    return 1 - math.prod((n - c - i) / (n - i) for i in range(k))


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_chance_of_a_right_one_among_k(case: tuple[int, int, int]) -> None:
    n, c, k = case
    assert pass_at_k([(n, c)], k) == pytest.approx(100 * _binomial(n, c, k))
    assert pass_at_k([(n, c)], 1) == pytest.approx(100 * c / n)


@pytest.mark.parametrize(("right", "k"), [([], 1), ([(3, 1), (2, 2)], 3), ([(3, 1)], 0)])
def test_pass_at_k_needs_samples(right: list[tuple[int, int]], k: int) -> None:
    with pytest.raises(InputError, match="samples"):
        pass_at_k(right, k)


def _write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def test_a_live_run(tmp_path: Path) -> None:
    _write(
        tmp_path / "math500.jsonl",
        {"problem": "Half of 1?", "solution": r"\boxed{\frac12}", "answer": r"\frac{1}{2}", "subject": "Algebra"},
        {"problem": "1+1?", "solution": r"\boxed{2}", "answer": 2},
        {"problem": "1+2?", "answer": "3"},
    )
    suite = maths.suite("math-500", tmp_path)
    assert [sample.category for sample in suite.samples] == ["Algebra", "competition", "competition"]
    assert "\\boxed{}" in suite.samples[0].turns[0]
    assert suite.samples[0].options == Options(max_tokens=2048)
    replayed = Recorded("m", {"0": (r"\boxed{0.5}",), "1": ("two",)})
    records = (await runner.run(suite, [replayed]))["m"]
    assert [record.score for record in records] == [100.0, 0.0, 0.0]
    assert records[0].turns[0].judgments[0].text == "0.5"
    assert suite.summary is not None
    assert suite.summary(records) == {
        "pass@1": pytest.approx(100 / 3), "problems": 3, "samples": 3, "unparsed": 1, "errors": 1
    }  # fmt: skip
    assert maths.gold("math-500", tmp_path) == {"problems": 3, "agree": 2, "without_solution": 1, "disagree": []}


async def test_many_samples_of_a_problem(tmp_path: Path) -> None:
    path = _write(tmp_path / "test.jsonl", {"question": "1+1?", "answer": "#### 2"})
    suite = maths.suite("gsm8k", path, options=Options(temperature=0.7, seed=5), samples=4)
    assert [(s.id, s.group, s.options and s.options.seed) for s in suite.samples][3] == ("0#4", "0", 8)

    records = (await runner.run(suite, [Recorded("m", {f"0#{n}": (str(n),) for n in range(1, 5)})]))["m"]
    found = summarise(records, {sample.id: sample.group for sample in suite.samples})
    assert (found["pass@1"], found["pass@4"], found["problems"]) == (25.0, 100.0, 1)


@pytest.mark.parametrize(
    ("act", "error", "told"),
    [
        (lambda d: maths.suite("gsm9k", d), InputError, "gsm8k"),
        (lambda d: maths.suite("gsm8k", d, samples=2), InputError, "temperature"),
        (lambda d: maths.suite("gsm8k", d / "nowhere"), DataError, "--data"),
        (lambda d: maths.suite("gsm8k", _write(d / "a", {"question": "q", "answer": "18"})), DataError, "a:1.*####"),
        (lambda d: maths.suite("gsm8k", _write(d / "a", {"question": "q"})), DataError, "a:1 is malformed at answer"),
        (lambda d: maths.suite("aime-2024", _write(d / "a")), DataError, "a is empty"),
        (lambda d: maths.suite("aime-2024", _write(d / "a", {"problem": "p", "answer": " "})), DataError, "empty"),
        (
            lambda d: maths.suite("math-500", _write(d / "a", *[{"problem": "p", "answer": "1", "id": 1}] * 2)),
            DataError,
            "'1' twice",
        ),
        (lambda d: maths.recorded("gsm8k", _write(d / "a", {"question": "q"})), DataError, "ground_truth"),
        (
            lambda d: maths.recorded(
                "gsm8k", _write(d / "a", {"ground_truth": "A: 1", "m": {"solution": "1"}}, {"ground_truth": "A: 2"})
            ),
            DataError,
            "m solved not all 2",
        ),
    ],
)
def test_bad_input(act: Callable[[Path], object], error: type[Exception], told: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=told):
        act(tmp_path)


def test_a_file_of_recorded_models_is_enough(tmp_path: Path) -> None:
    rows = [{"question": "q", "ground_truth": "A: 3", "m": {"solution": text}} for text in ("A: 3.0", "A: 4", "none")]
    path = _write(tmp_path / "example_model_solutions.jsonl", *rows)
    for data in (path, tmp_path):
        found = maths.recorded("gsm8k", data)
        row = {"pass@1": pytest.approx(100 / 3), "n": 3, "unparsed": 1, "verdicts": 0, "disagreements": 0}
        assert found == {"suite": "gsm8k", "models": {"m": row}, "gold": None}


@needs_data
def test_recorded_models_of_gsm8k() -> None:
    found = maths.recorded("gsm8k")
    assert {model: round(row["pass@1"], 4) for model, row in found["models"].items()} == {
        "6b_finetuning": 21.6831, "6b_verification": 39.0447, "175b_finetuning": 34.7233, "175b_verification": 56.2547
    }  # fmt: skip
    assert all((row["n"], row["disagreements"]) == (1319, 0) for row in found["models"].values())
    votes = maths.votes()["175b_verification"]
    assert sum(vote.correct for vote in votes) == 742
    json.dumps(found, allow_nan=False)


@needs_data
@pytest.mark.parametrize(("name", "count"), [("gsm8k", 1319), ("math-500", 500), ("aime-2024", 30)])
def test_every_worked_solution_ends_in_its_own_answer(name: str, count: int) -> None:
    assert maths.gold(name) == {"problems": count, "agree": count, "without_solution": 0, "disagree": []}


@needs_data
def test_different_gold_answers_stay_different() -> None:
    """Of all pairs of different spellings in MATH-500 only those are equal that say the same."""
    answers = sorted({problem.answer for problem in problems("math-500")})[::2]
    found = [(a, b) for n, a in enumerate(answers) for b in answers[:n] if equal(a, b)]
    same = {"1,-2", "-2,1", "36", "90", "120", "30", "5", "2\\sqrt{5}", "10080", "15", "x=5", "\\frac14", "\\$36"}
    assert len(found) < 8
    assert all(a in same or b in same for a, b in found), found
