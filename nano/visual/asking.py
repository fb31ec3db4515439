"""What the makers of questions share: drafts, options, ways to put a prompt. Knows no scenes."""

import random
from collections.abc import Sequence
from typing import NamedTuple

YES_NO = "Say what you see, then yes or no."
OPTION = "Answer with the text of one option."


class Asked(NamedTuple):
    """A prompt, its right answer (yes or no, a letter, or a word), and what of the picture decides the first two."""

    prompt: str
    answer: str
    seen: str = ""


class Draft(NamedTuple):
    """The content of the (first) right answer, the prompts, and the options' texts."""

    content: str
    asked: tuple[Asked, ...]
    options: tuple[str, ...] = ()


def pair(content: str, true: str, false: str, seen: tuple[str, str] | None = None) -> Draft:
    """Two yes/no questions with opposite answers; ``seen`` (the content, if left out) decides each."""
    yes, no = seen or (content, content)
    return Draft(content, (Asked(f"{true} {YES_NO}", "yes", yes), Asked(f"{false} {YES_NO}", "no", no)))


def choice(rng: random.Random, question: str, content: str, others: Sequence[str]) -> Draft:
    """A question with the right option among others, in random order."""
    options = [content, *others]
    rng.shuffle(options)
    lines = "".join(f"\n{letter}. {text}" for letter, text in zip("ABCD", options, strict=False))
    asked = Asked(f"{question}{lines}\n{OPTION}", "ABCD"[options.index(content)], content)
    return Draft(content, (asked,), tuple(options))


def short(question: str, answer: str) -> Draft:
    """A question with a word as its answer."""
    return Draft(answer, (Asked(question, answer),))
