"""Tracing small Python programs: the answer is a short trace that ends with the printed value."""

import random

from aiflow.nano.data.dialogue import Pair, Split, fits, phrase

WORDINGS = (
    "What does this print?\n{p}",
    "What is the output?\n{p}",
    "Trace this program:\n{p}",
    "Which value is printed?\n{p}",
    "Run this in your head:\n{p}",
)
CHANGE = (
    "What if {v} starts at {n}?",
    "And if {v} starts at {n}?",
    "Now let {v} start at {n}.",
    "What if the first line is {v} = {n}?",
)
LISTS = ("What if the last line is print({e})?", "And with print({e}) at the end?", "Now end with print({e}).")


def _assign(v: str, w: str, a: int, op: str, b: int) -> tuple[str, str]:
    value = a + b if op == "+" else a - b
    return f"{v} = {a}\n{w} = {v} {op} {b}\nprint({w})", f"{v} = {a}, {w} = {a} {op} {b} = {value}, prints {value}"


def _loop(v: str, a: int, times: int, d: int) -> tuple[str, str]:
    values = [a + d * i for i in range(times + 1)]
    trace = f"{v} = " + ", ".join(map(str, values))
    return f"{v} = {a}\nfor i in range({times}):\n    {v} = {v} + {d}\nprint({v})", f"{trace}, prints {values[-1]}"


def _branch(v: str, a: int, b: int, c: int, d: int) -> tuple[str, str]:
    return (
        f"{v} = {a}\nif {v} > {b}:\n    print({c})\nelse:\n    print({d})",
        f"{a} > {b} is {a > b}, prints {c if a > b else d}",
    )


def _listing(v: str, items: list[int], extra: int, expression: str) -> tuple[str, str]:
    full = [*items, extra]
    value = {f"len({v})": len(full), f"{v}[0]": full[0], f"{v}[-1]": full[-1]}[expression]
    return f"{v} = {items}\n{v}.append({extra})\nprint({expression})", f"{v} = {full}, prints {value}"


def _variants(rng: random.Random) -> tuple[tuple[str, str], tuple[str, str], tuple[str, dict[str, object]]]:
    """A program with its trace, the changed program with its trace, and what the change is."""
    v, w = rng.sample("abcnstxy", 2)
    kind = rng.randrange(4)
    if kind == 0:
        b, op = rng.randint(1, 9), rng.choice("+-")
        a, n = rng.sample(range(b, b + 15), 2)
        return _assign(v, w, a, op, b), _assign(v, w, n, op, b), ("change", {"v": v, "n": n})
    if kind == 1:
        times, d = rng.randint(2, 4), rng.randint(1, 5)
        a, n = rng.sample(range(10), 2)
        return _loop(v, a, times, d), _loop(v, n, times, d), ("change", {"v": v, "n": n})
    if kind == 2:
        b, (c, d) = rng.randint(2, 17), rng.sample(range(1, 10), 2)
        a, n = rng.sample([x for x in range(20) if x != b], 2)
        return _branch(v, a, b, c, d), _branch(v, n, b, c, d), ("change", {"v": v, "n": n})
    items, extra = rng.sample(range(1, 20), rng.randint(2, 3)), rng.randint(1, 19)
    first, second = rng.sample((f"len({v})", f"{v}[0]", f"{v}[-1]"), 2)
    return _listing(v, items, extra, first), _listing(v, items, extra, second), ("list", {"e": second})


def code(rng: random.Random, split: Split) -> Pair:
    """A program, then the same program with one change."""
    while True:
        (program, trace), (_, second), (kind, change) = _variants(rng)
        if fits(program, split):
            break
    question = phrase(rng, split, WORDINGS).format(p=program)
    follow = phrase(rng, split, CHANGE if kind == "change" else LISTS).format(**change)
    return Pair(category="code", turns=(question, follow), answers=(trace, second))
