"""The held-out suite: two-turn questions in eight categories with exact checkers. No torch here.

Instances, wordings and (outside the encyclopaedias) names are reserved for it; encyclopaedia facts cannot be held out,
only their wordings and dialogues are.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from aiflow.nano.data.code import code
from aiflow.nano.data.dialogue import Pair
from aiflow.nano.data.encyclopaedia import facts_then_math, facts_then_text, topic_pair
from aiflow.nano.data.math import arithmetic, word_problems
from aiflow.nano.data.text import text
from aiflow.nano.data.topics import ISLANDS, MINERALS

SEED = 7
SUITE_SIZE = 320
CATEGORIES = (
    "arithmetic",
    "word_problems",
    "code",
    "text",
    "islands",
    "minerals",
    "facts_then_math",
    "facts_then_text",
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """Two questions in a row, their reference answers, and the device that suits each turn."""

    id: str
    category: str
    turns: tuple[str, str]
    references: tuple[str, str]
    devices: tuple[str, str]


def _item(rng: random.Random, category: str) -> tuple[Pair, tuple[str, str]]:
    plain: dict[str, tuple[Callable[..., Pair], str]] = {
        "arithmetic": (arithmetic, "math"),
        "word_problems": (word_problems, "math"),
        "code": (code, "code"),
        "text": (text, "text"),
    }
    if category in plain:
        make, device = plain[category]
        return make(rng, "suite"), (device, device)
    if category in ("islands", "minerals"):
        topic = ISLANDS if category == "islands" else MINERALS
        return topic_pair(rng, "suite", topic, private=True), (category, category)
    topic = rng.choice((ISLANDS, MINERALS))
    if category == "facts_then_math":
        return facts_then_math(rng, "suite", topic, private=True), (topic.name, "math")
    return facts_then_text(rng, "suite", topic, private=True), (topic.name, "text")


def suite(n: int = SUITE_SIZE, seed: int = SEED) -> list[Question]:
    """The first ``n`` questions; categories alternate, so that every prefix is balanced and a longer suite extends it.

    Raises:
        ValueError: if ``n`` is negative.
    """
    if n < 0:
        raise ValueError(f"a suite has 0 or more questions, not {n}")
    rngs = {c: random.Random(f"{seed} suite {c}") for c in CATEGORIES}
    seen: set[tuple[str, str]] = set()
    questions: list[Question] = []
    while len(questions) < n:
        category = CATEGORIES[len(questions) % len(CATEGORIES)]
        item, devices = _item(rngs[category], category)
        if item.turns in seen:
            continue
        seen.add(item.turns)
        questions.append(
            Question(
                id=f"{category}-{len(questions) // len(CATEGORIES) + 1}",
                category=category,
                turns=item.turns,
                references=item.answers,
                devices=devices,
            )
        )
    return questions


def check(question: Question, turn: int, text: str) -> bool:
    """Whether ``text`` answers turn 0 or 1: the same last number, or the same words in the same order.

    Case, spaces and punctuation do not count.

    Raises:
        ValueError: if ``turn`` is not 0 or 1.
    """
    if turn not in (0, 1):
        raise ValueError(f"a question has turns 0 and 1, not {turn}")
    return same(question.references[turn], text)


def same(reference: str, text: str) -> bool:
    """Whether a text says what the reference says."""
    wanted, said = _words(reference), _words(text)
    if wanted and wanted[-1].lstrip("-").isdigit():
        numbers = [w for w in said if w.lstrip("-").isdigit()]
        return bool(numbers) and int(numbers[-1]) == int(wanted[-1])
    return wanted == said


def _words(text: str) -> list[str]:
    return re.findall(r"-?\d+|[^\W\d_]+", text.lower())
