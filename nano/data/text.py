"""Editing lists of words: order, picking, dropping, replacing, counting."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from aiflow.nano.data import names
from aiflow.nano.data.dialogue import Pair, Split, fits, phrase


@dataclass(frozen=True)
class Edit:
    """One operation with its full wordings (``{l}`` is the list) and its wordings as a second question."""

    apply: Callable[[list[str]], list[str]]
    full: tuple[str, ...]
    follow: tuple[str, ...]


LISTS = {
    "reverse": Edit(
        lambda x: x[::-1],
        ("Reverse this list: {l}", "Write this list backwards: {l}", "Turn this list around: {l}"),
        ("Reverse that list.", "Write that backwards.", "Put these in reverse order."),
    ),
    "sort": Edit(
        sorted,
        ("Sort these words: {l}", "Put these words in alphabetical order: {l}", "Order these words from a to z: {l}"),
        ("Put these in alphabetical order.", "Sort these words.", "Order that list from a to z."),
    ),
    "drop first": Edit(
        lambda x: x[1:],
        ("Drop the first word: {l}", "Remove the first word: {l}", "Write this without the first word: {l}"),
        ("Drop the first one.", "Remove the first word.", "Leave out the first one."),
    ),
    "drop last": Edit(
        lambda x: x[:-1],
        ("Drop the last word: {l}", "Remove the last word: {l}", "Write this without the last word: {l}"),
        ("Drop the last one.", "Remove the last word.", "Leave out the last one."),
    ),
}

PICKS = {
    "first": Edit(
        lambda x: x[:1],
        ("Which word is first: {l}", "Give the first word: {l}", "Pick the first word: {l}"),
        ("Which of these is first?", "Give the first word.", "Pick the first one."),
    ),
    "second": Edit(
        lambda x: x[1:2],
        ("Which word is second: {l}", "Give the second word: {l}", "Pick the second word: {l}"),
        ("Which of these is second?", "Give the second word.", "Pick the second one."),
    ),
    "last": Edit(
        lambda x: x[-1:],
        ("Which word is last: {l}", "Give the last word: {l}", "Pick the last word: {l}"),
        ("Which of these is last?", "Give the last word.", "Pick the last one."),
    ),
    "count": Edit(
        lambda x: [str(len(x))],
        ("How many words are here: {l}", "Count these words: {l}", "Give the number of words: {l}"),
        ("How many words are in that list?", "Count those words.", "Give the number of words."),
    ),
}

REPLACE = (
    ("Replace {a} by {b}: {l}", "Change {a} to {b}: {l}", "Put {b} instead of {a}: {l}"),
    ("Replace {a} by {b}.", "Change {a} to {b}.", "Put {b} instead of {a}."),
)


def edit(
    rng: random.Random, split: Split, items: list[str], *, full: bool, keep: bool = False
) -> tuple[str, list[str]]:
    """A random operation on ``items``; ``full`` writes the list into the question, ``keep`` makes the result a list."""
    kind = rng.random()
    if kind < 0.15:
        old, new = rng.choice(items), rng.choice([w for w in names.WORDS if w not in items])
        text = phrase(rng, split, REPLACE[0 if full else 1]).format(a=old, b=new, l=", ".join(items))
        return text, [new if w == old else w for w in items]
    edit_ = rng.choice(list((LISTS if keep or kind < 0.7 else PICKS).values()))
    text = phrase(rng, split, edit_.full if full else edit_.follow)
    return text.format(l=", ".join(items)), edit_.apply(items)


def text(rng: random.Random, split: Split) -> Pair:
    """An edit of a list, then an edit of the result."""
    while True:
        pool = names.WORDS if rng.random() < 0.85 else names.LETTERS
        items = rng.sample(pool, rng.randint(3, 5))
        if fits(" ".join(items), split):
            break
    question, result = edit(rng, split, items, full=True, keep=rng.random() < 0.7)
    follow, second = edit(rng, split, result if len(result) > 1 else items, full=False)
    return Pair(category="text", turns=(question, follow), answers=(", ".join(result), ", ".join(second)))


def on_list(rng: random.Random, split: Split, items: list[str]) -> tuple[str, str]:
    """A question that edits a list another device gave, and its answer."""
    question, result = edit(rng, split, items, full=False)
    return question, ", ".join(result)
