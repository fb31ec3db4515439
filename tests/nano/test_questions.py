"""The held-out suite and its checkers."""

import subprocess
import sys
from collections import Counter

import pytest

from aiflow.nano.data import names
from aiflow.nano.questions import CATEGORIES, check, same, suite


def test_every_prefix_is_balanced_and_a_longer_suite_extends_it() -> None:
    long = suite(320)
    assert suite(24) == long[:24]
    assert set(Counter(q.category for q in long).values()) == {40}
    assert [q.category for q in long[:8]] == list(CATEGORIES)
    assert len({q.id for q in long}) == len({q.turns for q in long}) == 320


def test_another_seed_asks_other_questions() -> None:
    assert not {q.turns for q in suite(80)} & {q.turns for q in suite(80, seed=8)}


def test_references_pass_and_others_fail() -> None:
    questions = suite(160)
    for q in questions:
        for turn in (0, 1):
            assert check(q, turn, q.references[turn])
            assert check(q, turn, f" {q.references[turn].upper()}. ")
            assert not check(q, turn, "")
            assert not check(q, turn, q.references[turn] + ", moreover 100")


@pytest.mark.parametrize(
    ("reference", "text", "right"),
    [
        ("3 x 4 = 12, 12 + 5 = 17", "17", True),
        ("3 x 4 = 12, 12 + 5 = 17", "17 + 0 = 18", False),
        ("17", "The answer is 17.", True),
        ("17", "017", True),
        ("17", "seventeen", False),
        ("5", "-5", False),
        ("salt, copper, silk", "Salt copper  silk.", True),
        ("salt, copper, silk", "copper, salt, silk", False),
        ("salt, copper, silk", "salt, copper", False),
        ("Ravenor", "ravenor", True),
        ("Ravenor", "It is Ravenor", False),
    ],
)
def test_the_checker(reference: str, text: str, right: bool) -> None:
    assert same(reference, text) is right


def test_names_of_the_suite_are_reserved() -> None:
    stories = " ".join(q.turns[0] for q in suite(320) if q.category == "word_problems")
    assert any(n in stories for n in names.PEOPLE_SUITE)
    assert not set(stories.split()) & set(names.PEOPLE)


def test_bad_requests_are_errors() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        suite(-1)
    with pytest.raises(ValueError, match="turns 0 and 1"):
        check(suite(1)[0], 2, "")


def test_the_suite_needs_no_torch() -> None:
    code = "import sys, aiflow.nano, aiflow.nano.questions as q; q.suite(8); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
