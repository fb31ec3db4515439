"""The rules by which an answer about an image is marked: facts of each, and properties that must hold for any text."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.bench.suites.vqa import mmmu, ocrbench
from aiflow.bench.suites.vqa.options import infer
from aiflow.bench.suites.vqa.text import anls, exact, golds, levenshtein, relaxed, vqa
from aiflow.bench.suites.vqa.words import normal
from aiflow.bench.suites.vqa.yes_no import opened, stated

OPTIONS = {"A": "a red car", "B": "two cats", "C": "None of them"}
WORDS = st.text(alphabet="abC 1.,-'%\n", max_size=12)


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B. two cats", "B"),
        ("The answer is C.", "C"),
        ("I see two cats here", "B"),
        ("TWO CATS", "B"),
        ("none of them", "C"),
        ("A or B", ""),
        ("a red car, two cats", ""),
        ("D", ""),
        ("", ""),
        ("b", ""),
        ("Z", "Z"),
        ("Cannot determine the answer", "Z"),
        ("A. B is better: two cats", "B"),
        ("Failed to obtain answer via API: B", ""),
    ],
)
def test_which_option_is_named(said: str, letter: str) -> None:
    assert infer(said, OPTIONS) == letter


def test_an_article_is_read_as_option_a_unless_only_the_end_counts() -> None:
    said = "A shirt is a garment worn by a person, and its colour can vary"
    assert infer(said, OPTIONS) == "A"
    assert infer(said, OPTIONS, last=4) == ""
    assert infer("The answer is B", OPTIONS, last=4) == "B"


@given(st.text(max_size=30))
def test_only_options_and_z_are_inferred(said: str) -> None:
    assert infer(said, OPTIONS) in {"", "Z", *OPTIONS}


@pytest.mark.parametrize(
    ("said", "anywhere", "at_start"),
    [
        ("Yes", "Yes", "Yes"),
        ("no, it is", "No", "No"),
        ("It is not; No.", "No", ""),
        ("yes and no", "", "Yes"),
        ("nothing", "", "No"),
        ("Eyes", "", "Yes"),
        ("", "", ""),
    ],
)
def test_yes_and_no(said: str, anywhere: str, at_start: str) -> None:
    assert stated(said) == anywhere
    assert opened(said) == at_start


def test_the_normal_form() -> None:
    assert normal("The two Cats, and\na dog.") == "2 cats and dog"
    assert normal("dont") == "don't"
    assert normal("couldnt've") == normal("couldn'tve") == "couldn't've"
    assert normal("1,000 -5") == "1000 5"
    assert normal("well-known") == "well known"
    assert normal("3.5 a.m.") == "3.5 am"


@given(WORDS)
def test_white_space_around_changes_nothing(text: str) -> None:
    assert normal(f" {text}\n") == normal(text)


def test_vqa_accuracy_leaves_each_annotator_out() -> None:
    ten = ["dakota"] * 4 + ["other"] * 6
    assert vqa(ten, "Dakota") == pytest.approx(1.0)
    assert vqa(["dakota"] * 3 + ["other"] * 7, "dakota") == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert vqa(["dakota"] + ["other"] * 9, "dakota") == pytest.approx(0.3)
    assert vqa(ten, "") == 0.0
    assert vqa(["dakota"], "dakota") == 0.0


def test_relaxed_accuracy() -> None:
    assert relaxed(["100"], "95.3") == 1.0
    assert relaxed(["100"], "94") == 0.0
    assert relaxed(["0.57"], "57%") == 1.0
    assert relaxed(["Japan"], "japan ") == 1.0
    assert relaxed(["0"], "0") == relaxed(["0"], "0", published=False) == 1.0
    assert relaxed(["0"], "0.001", published=False) == 0.0
    assert relaxed(["2018", "2019"], "2019") == 1.0
    # the published figures take the 5 % of the answer, the paper those of the right one
    assert (relaxed(["1"], "1.051"), relaxed(["1"], "1.051", published=False)) == (1.0, 0.0)


def test_a_list_of_right_answers_is_read_as_alternatives() -> None:
    assert golds("['7', 'seven']") == ("7", "seven")
    assert golds("[7]") == ("7",)
    assert golds("7") == ("7",)
    assert golds("[not a list") == ("[not a list",)
    assert golds("") == ("",)


def test_exact() -> None:
    assert exact(["Arts & Photography"], " arts & photography") == 1.0
    assert exact(["Yes"], "Yes.") == 0.0


@functools.cache
def slow(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))


@given(st.text(alphabet="ab", max_size=6), st.text(alphabet="ab", max_size=6))
def test_the_edit_distance_is_its_recursion(a: str, b: str) -> None:
    assert levenshtein(a, b) == slow(a, b)


@given(WORDS, WORDS)
def test_anls_is_its_formula(right: str, said: str) -> None:
    a, b = " ".join(right.lower().split()), " ".join(said.lower().split())
    length = max(len(right), len(said))
    share = 1 - levenshtein(a, b) / length if length else 1.0
    assert anls([right], said) == pytest.approx(share if share >= 0.5 else 0.0)


def test_anls_by_hand() -> None:
    assert anls(["hello"], "hallo") == pytest.approx(0.8)
    assert anls(["hello"], "h") == 0.0
    assert anls(["x", "Hello"], " hello") == 1.0
    assert anls([], "x") == 0.0


def test_ocrbench_ignores_spaces_in_formulas_and_case_elsewhere() -> None:
    assert ocrbench.contains(["y _ { 2 } = - 1\n"], "it is y_{2} = -1", ocrbench.FORMULAS) == 1.0
    assert ocrbench.contains(["X = 1"], "x = 1", ocrbench.FORMULAS) == 0.0
    assert ocrbench.contains(["CENTRE"], "The word Centre.", "Regular Text Recognition") == 1.0
    assert ocrbench.contains(["open door"], "opendoor", "Regular Text Recognition") == 0.0


MMMU = {"A": "53.83", "B": "87.09", "C": "the heat of a long reaction"}


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(A) or rather (B)", "B"),
        ("(B), not A ", "B"),
        ("(A) is not (B), so (A)", "A"),
        ("first B , then A , then B .", "B"),
        ("Between A and B .", "B"),
        ("It was 53.83, I would say, in the end", "A"),
        ("it is 53.83", ""),
        ("a", ""),
    ],
)
def test_which_option_mmmu_reads(said: str, letter: str) -> None:
    assert mmmu.letter(said, MMMU) == letter


def test_open_answers_of_mmmu() -> None:
    assert mmmu.right(["12.97"], mmmu.held("So the result is 12.968 m"))
    assert mmmu.right(["1,200"], mmmu.held("x = 1200"))
    assert mmmu.right(["transformation"], mmmu.held("The answer is a Transformation."))
    assert not mmmu.right(["12.97"], mmmu.held("13"))
    assert not mmmu.right(["c"], mmmu.held("circle"))
    assert mmmu.right(["4", "four"], mmmu.held("four of them"))
