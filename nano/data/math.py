"""Arithmetic and word problems with short worked answers, whose last number is the result (0 to 99)."""

import random

from aiflow.nano.data import names
from aiflow.nano.data.dialogue import Pair, Split, fits, phrase

WORDINGS = ("What is {e}?", "Compute {e}.", "How much is {e}?", "Work out {e}.", "Calculate {e}.", "Find {e}.")
ADD = ("Now add {n}.", "Add {n} to that.", "What is that plus {n}?", "And {n} more?")
TAKE = ("Now take away {n}.", "Subtract {n} from that.", "What is that minus {n}?", "And {n} less?")
DOUBLE = ("Now double that.", "What is twice that?", "Double the result.", "And two times that?")
MORE = (
    "{n} more are added. How many are there now?",
    "{n} more are built. How many are there now?",
    "Suppose there are {n} more. How many is that?",
    "How many would {n} more make?",
)
LESS = (
    "{n} of them close. How many are left?",
    "{n} of them are lost. How many remain?",
    "Take away {n}. How many are left?",
    "How many are left without {n} of them?",
)


def add(a: int, b: int) -> str:
    """``a + b = c``"""
    return f"{a} + {b} = {a + b}"


def take(a: int, b: int) -> str:
    """``a - b = c``"""
    return f"{a} - {b} = {a - b}"


def _expression(rng: random.Random) -> tuple[str, str, int]:
    kind = rng.choice(("add", "add", "take", "times", "three"))
    a, b = rng.randint(2, 40), rng.randint(2, 20)
    if kind == "add":
        return f"{a} + {b}", add(a, b), a + b
    if kind == "take":
        a += b
        return f"{a} - {b}", take(a, b), a - b
    if kind == "times":
        a, b = rng.randint(2, 9), rng.randint(2, 9)
        return f"{a} x {b}", f"{a} x {b} = {a * b}", a * b
    a, b, c = rng.randint(2, 20), rng.randint(2, 20), rng.randint(2, 9)
    return f"{a} + {b} + {c}", f"{add(a, b)}, {add(a + b, c)}", a + b + c


def step(
    rng: random.Random, split: Split, value: int, more: tuple[str, ...], less: tuple[str, ...], **words: str
) -> tuple[str, str]:
    """A second question that computes on ``value``, and its worked answer."""
    kind = rng.choice(("add", "take", "double") if 4 <= value <= 40 else ("add",) if value < 4 else ("take",))
    if kind == "double":
        return phrase(rng, split, DOUBLE), add(value, value)
    n = rng.randint(2, min(20, value - 1) if kind == "take" else 20)
    text = phrase(rng, split, more if kind == "add" else less).format(n=n, **words)
    return text, add(value, n) if kind == "add" else take(value, n)


def arithmetic(rng: random.Random, split: Split) -> Pair:
    """An expression, then one more operation on its result."""
    while True:
        expression, answer, value = _expression(rng)
        if fits(expression, split):
            break
    question = phrase(rng, split, WORDINGS).format(e=expression)
    follow, second = step(rng, split, value, ADD, TAKE)
    return Pair(category="arithmetic", turns=(question, follow), answers=(answer, second))


def _story(rng: random.Random, who: str, what: str) -> tuple[str, str, int]:
    a, b, c = rng.randint(3, 30), rng.randint(2, 15), rng.randint(2, 9)
    box, kind = rng.choice(names.BOXES), rng.randrange(5)
    if kind == 0:
        return f"{who} has {a} {what} and finds {b} more.", add(a, b), a + b
    if kind == 1:
        a += b
        return f"{who} has {a} {what} and loses {b}.", take(a, b), a - b
    if kind == 2:
        a = rng.randint(2, 9)
        return f"{who} has {a} {box} with {c} {what} each.", f"{a} x {c} = {a * c}", a * c
    if kind == 3:
        return f"{who} has {a} {what}, gets {b} and then {c} more.", f"{add(a, b)}, {add(a + b, c)}", a + b + c
    a, c = rng.randint(2, 6), rng.randint(2, 6)
    return (
        f"{who} has {a} {box} with {c} {what} each and buys {b} more.",
        f"{a} x {c} = {a * c}, {add(a * c, b)}",
        a * c + b,
    )


def word_problems(rng: random.Random, split: Split) -> Pair:
    """A story of one or two steps, then one more event."""
    suite = split == "suite"
    while True:
        who = rng.choice(names.PEOPLE_SUITE if suite else names.PEOPLE)
        what = rng.choice(names.OBJECTS_SUITE if suite else names.OBJECTS)
        story, answer, value = _story(rng, who, what)
        if fits(story, split):
            break
    ending = phrase(
        rng,
        split,
        (
            "{s} How many {w} does {p} have now?",
            "{s} How many {w} is that?",
            "{s} How many {w} are there in the end?",
            "{s} Count the {w}.",
        ),
    )
    follow, second = step(
        rng,
        split,
        value,
        ("{p} gets {n} more. How many now?", "Then {p} buys {n} more {w}. How many now?"),
        ("{p} gives {n} away. How many are left?", "Then {p} sells {n} {w}. How many are left?"),
        p=who,
        w=what,
    )
    question = ending.format(s=story, w=what, p=who)
    return Pair(category="word_problems", turns=(question, follow), answers=(answer, second))


def on_number(rng: random.Random, split: Split, value: int) -> tuple[str, str]:
    """A question that computes on a number another device gave (2 to 40), and its worked answer."""
    return step(rng, split, value, MORE + ADD[:2], LESS + TAKE[:2])
