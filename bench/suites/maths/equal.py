r"""Whether two mathematical answers say the same. Strings in, a yes or no out; what cannot be computed is compared as
text, so a wrong "no" is possible for exotic notation and a wrong "yes" is not meant to be.
"""

import re
from collections.abc import Sequence

from aiflow.bench.suites.maths.expression import NotAnExpressionError, Number, values
from aiflow.bench.suites.maths.latex import normal

_NAMED = re.compile(r"(?:[a-zA-Z]|[a-zA-Z]\([a-z]\)|[a-zA-Z]_\w)(?:=|\\in(?![a-z]))")
_MATRIX = re.compile(r"\\begin\{([a-z]*matrix)\}(.*)\\end\{\1\}", re.DOTALL)
_OPEN, _CLOSE = "([{", ")]}"
_TOLERANCE = 1e-9
_MOST_PARTS = 64


def equal(answer: str, gold: str) -> bool:
    r"""Exact for rationals (``0.5`` is ``\frac12``, ``0.333`` is not ``\frac13``), to 1e-9 for irrational and symbolic
    expressions; tuples and intervals part by part, sets and lists in any order, equations up to a factor.
    """
    try:
        return _same(normal(answer), normal(gold))
    except RecursionError:  # brackets in brackets, hundreds deep
        return False


def _same(a: str, b: str) -> bool:
    if a == b:
        return bool(a)
    if not a or not b:
        return False
    if (a.isalpha() and len(a) > 2) or (b.isalpha() and len(b) > 2):
        return a.casefold() == b.casefold()
    if a.count("=") == b.count("=") == 1:
        return _equation(a, b)
    stripped = [_NAMED.sub("", text, count=1) if _NAMED.match(text) else text for text in (a, b)]
    if stripped != [a, b]:
        return _same(*stripped)
    return _composed(a, b)


def _composed(a: str, b: str) -> bool:
    matrices = [_MATRIX.fullmatch(text) for text in (a, b)]
    if all(matrices):
        first, second = ([row.split("&") for row in m[2].strip("\\").split(r"\\")] for m in matrices if m)
        flat = [len(row) for row in first] == [len(row) for row in second]
        return flat and all(map(_ordered, first, second))
    unions = [_split(text, r"\cup") for text in (a, b)]
    if any(len(parts) > 1 for parts in unions):
        return _unordered(*unions)
    lists = [_listed(text) for text in (a, b)]
    if any(len(parts) > 1 for parts in lists):
        return _unordered(*lists)
    if lists != [[a], [b]]:  # a set of one
        return _same(lists[0][0], lists[1][0]) if all(lists) else False
    if a[0] in "([" and b[0] in "([" and len(_split(a[1:-1], ",")) > 1:
        ends = (a[0], a[-1]) == (b[0], b[-1]) and a[-1] in ")]"
        return ends and _ordered(_split(a[1:-1], ","), _split(b[1:-1], ","))
    return _value(a, b)


def _listed(text: str) -> list[str]:
    r"""The members of a set or of a list without brackets, with every ``\pm`` as two; one member if it is neither."""
    if text.startswith(r"\{") and text.endswith(r"\}"):
        text = text[2:-2]
    found = []
    for part in _split(text, ","):
        both = part.count(r"\pm") == 1 and part[0] not in "(["
        found += [part.replace(r"\pm", sign).removeprefix("+") for sign in "+-"] if both else [part]
    return found


def _split(text: str, mark: str) -> list[str]:
    """At the marks that stand outside all brackets."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(text):
        if depth == 0 and text.startswith(mark, at):
            parts.append(text[start:at])
            at = start = at + len(mark)
            continue
        depth += (text[at] in _OPEN) - (text[at] in _CLOSE)
        at += 1
    return [*parts, text[start:]]


def _ordered(a: Sequence[str], b: Sequence[str]) -> bool:
    return len(a) == len(b) and all(map(_same, a, b))


def _unordered(a: Sequence[str], b: Sequence[str]) -> bool:
    if len(a) != len(b) or len(a) > _MOST_PARTS:
        return False
    left = list(b)
    for part in a:
        match = next((n for n, other in enumerate(left) if _same(part, other)), None)
        if match is None:
            return False
        del left[match]
    return True


def _value(a: str, b: str) -> bool:
    try:
        return all(_near(x, y) for x, y in _paired(values(a), values(b)))
    except NotAnExpressionError:
        return False


def _equation(a: str, b: str) -> bool:
    """Left minus right is the same function, up to a factor."""
    try:
        first, second = (values("({})-({})".format(*text.split("="))) for text in (a, b))
    except NotAnExpressionError:
        return False
    pairs = _paired(first, second)
    if any(abs(y) == 0 or abs(x) == 0 for x, y in pairs):
        return False
    ratio = complex(pairs[0][0]) / complex(pairs[0][1])
    return all(_near(x, ratio * complex(y)) for x, y in pairs)


def _paired(a: tuple[Number, ...], b: tuple[Number, ...]) -> list[tuple[Number, Number]]:
    size = max(len(a), len(b))
    return list(zip(a * (size // len(a)), b * (size // len(b)), strict=True))


def _near(a: Number, b: Number) -> bool:
    if not isinstance(a, complex) and not isinstance(b, complex):
        return a == b
    try:
        first, second = complex(a), complex(b)
    except OverflowError:
        return False
    return abs(first - second) <= _TOLERANCE * max(1.0, abs(first), abs(second))
