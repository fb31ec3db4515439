"""The nine visual suites: held out, balanced, and scored by their own rules."""

import random
from collections import Counter, defaultdict
from functools import cache

import pytest

from aiflow.errors import InputError
from aiflow.nano.data.dialogue import fits
from aiflow.nano.visual import questions, scoring, suites
from aiflow.nano.visual.questions import FORMS, Form


@cache
def items(form: Form) -> list[suites.Item]:
    return suites.suite(form, 2000)


@pytest.mark.parametrize("form", FORMS)
def test_a_suite_is_held_out_and_a_longer_one_extends_it(form: Form) -> None:
    known = items(form)
    assert known[:50] == suites.suite(form, 50)
    assert known[:50] != suites.suite(form, 50, seed=8)
    assert len({i.id for i in known}) == 2000
    assert all(fits(i.scene.instance, "suite") for i in known)
    counts = Counter(i.category for i in known[:120])
    assert max(counts.values()) - min(counts.values()) <= 2


@pytest.mark.parametrize("form", FORMS)
def test_a_guesser_stays_at_chance(form: Form) -> None:
    """Neither one answer for all nor the best one for each category beats chance."""
    best = Counter(i.answer for i in items(form)).most_common(1)[0][0]
    assert suites.score(items(form), [best] * 2000)["score"] <= questions.chance(form) + 0.03
    by: dict[str, Counter[str]] = defaultdict(Counter)
    for i in items(form):
        by[i.category][i.answer] += 1
    guesses = [by[i.category].most_common(1)[0][0] for i in items(form)]
    assert suites.score(items(form), guesses)["score"] <= questions.chance(form) + 0.04


def test_yes_and_no_are_balanced_for_every_prompt() -> None:
    by: dict[str, list[str]] = defaultdict(list)
    for i in items("mme"):
        by[i.prompt].append(i.answer)
    often = [a for a in by.values() if len(a) >= 12]
    # The mean squared distance from one half is that of fair coins (0.25 / n), within a factor of two.
    spread = [len(a) * (a.count("yes") / len(a) - 0.5) ** 2 / 0.25 for a in often]
    assert len(often) >= 20
    assert sum(spread) / len(spread) < 2


@pytest.mark.parametrize("form", FORMS)
def test_references_score_one_and_silence_is_unparsed(form: Form) -> None:
    few = items(form)[:40]
    assert suites.score(few, [i.answer for i in few])["score"] == 1.0
    silent = suites.score(few, [""] * 40)
    assert silent["score"] == 0.0
    assert silent["unparsed"] == 40


def test_mme_counts_pairs() -> None:
    few = items("mme")[:4]
    answers = [few[0].answer, few[1].answer, "yes", "yes"]
    result = suites.score(few, answers)
    assert (result["score"], result["acc_plus"], result["unparsed"]) == (0.75, 0.5, 0.0)
    assert suites.score(few, ["yes or no"] * 4)["unparsed"] == 4


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b.", "B"),
        ("(B) circle", "B"),
        ("The answer is B.", "B"),
        ("a", "A"),
        ("a circle", "B"),
        ("It is the circle", "B"),
        ("A or B", None),
        ("star circle", None),
        ("E", None),
        ("", None),
    ],
)
def test_option_letters(text: str, letter: str | None) -> None:
    assert scoring.option(text, ("star", "circle", "cross", "square")) == letter


def test_rules_of_the_information_forms() -> None:
    assert scoring.mark("ocrbench", (), "K7", "It says k7.") == 1
    assert scoring.mark("ocrbench", (), "K7", "K 7") == 0
    assert scoring.mark("chartqa", (), "100", "about 105") == 1
    assert scoring.mark("chartqa", (), "100", "106") == 0
    assert scoring.mark("chartqa", (), "0", "0") == 1
    assert scoring.mark("chartqa", (), "0", "0.0") == 0
    assert scoring.mark("chartqa", (), "red", "Red.") == 1
    assert scoring.mark("chartqa", (), "red", "blue") == 0
    assert scoring.mark("docvqa", (), "52", "52") == 1
    assert scoring.mark("docvqa", (), "52", "53") == 0.5
    assert scoring.mark("docvqa", (), "52", "61") == 0
    assert scoring.levenshtein("kitten", "sitting") == 3


def test_right_is_a_pure_function_of_item_and_answer() -> None:
    item = items("docvqa")[0]
    assert suites.right(item, item.answer)
    assert not suites.right(item, item.answer + "5")
    assert not suites.right(item, "")


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="'vqa'"):
        suites.suite("vqa", 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="-1"):
        suites.suite("mme", -1)
    with pytest.raises(InputError, match="1 answers to 2 items"):
        suites.score(items("mme")[:2], ["yes"])
    with pytest.raises(InputError, match="2 forms"):
        suites.score([items("mme")[0], items("seed")[0]], ["yes", "A"])


def test_random_letters_are_at_chance() -> None:
    rng = random.Random(0)
    answers = ["ABCD"[rng.randrange(len(i.options))] for i in items("mmbench")]
    assert abs(suites.score(items("mmbench"), answers)["score"] - questions.chance("mmbench")) < 0.04
