"""What the makers of questions share: drafts, options, ways to put a prompt. Knows no scenes."""

import random
from collections.abc import Sequence
from typing import NamedTuple

YES_NO = "Answer yes or no."
LETTER = "Answer with the letter."


class Draft(NamedTuple):
    """Prompts with their right answers, the content of the (first) right answer and the options' texts."""

    content: str
    asked: tuple[tuple[str, str], ...]
    options: tuple[str, ...] = ()


def pair(content: str, true: str, false: str) -> Draft:
    """Two yes/no questions with opposite answers."""
    return Draft(content, ((f"{true} {YES_NO}", "yes"), (f"{false} {YES_NO}", "no")))


def choice(rng: random.Random, question: str, content: str, others: Sequence[str]) -> Draft:
    """A question with the right option among others, in random order."""
    options = [content, *others]
    rng.shuffle(options)
    lines = "".join(f"\n{letter}. {text}" for letter, text in zip("ABCD", options, strict=False))
    return Draft(content, ((f"{question}{lines}\n{LETTER}", "ABCD"[options.index(content)]),), tuple(options))


def short(question: str, answer: str) -> Draft:
    """A question with a word as its answer."""
    return Draft(answer, ((question, answer),))
