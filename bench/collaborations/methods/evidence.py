"""What can be seen of a question and its candidate answers, as tokens that a linear model weighs.

A candidate is a distinct vote with the members that gave it. Tokens say who supports it, what kind of question it
answers and what it looks like; nothing here knows what is right. Tokens are kept as hashes, made once per candidate.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from aiflow.bench.collaborations.board import Board

Codes = NDArray[np.int64]
_WORD = re.compile(r"[^\W\d_]+|\d+|[%$€£+=<>*/^]")
_N = r"\$?(-?\d[\d,]*\.?\d*)%?"
_SUM = re.compile(rf"(?:^|[^\d.,+*/x×÷\s-])\s*{_N} ?([-+*/x×÷]) ?{_N} ?= ?{_N}")
_NUMBER = re.compile(r"-?[\d.,]+%?")


@dataclass(frozen=True)
class Candidate:
    """An answer of question ``q``, and who gave it."""

    q: int
    members: tuple[int, ...]


def candidates(board: Board) -> list[Candidate]:
    """Every distinct vote of every question; an empty vote is a candidate of each of its members."""
    found: list[Candidate] = []
    for q, name in enumerate(board.ids):
        known: list[tuple[int, ...]] | None = board.memo.get(("candidates", name))
        if known is None:
            by: dict[str, list[int]] = {}
            for m, vote in enumerate(board.votes_MQ[:, q]):
                by.setdefault(vote or f"\0{m}", []).append(m)
            known = board.memo[("candidates", name)] = [tuple(members) for members in by.values()]
        found += [Candidate(q, members) for members in known]
    return found


def codes(board: Board, key: tuple[Any, ...], tokens: Callable[[], Iterable[str]]) -> Codes:
    """The hashes of tokens, sorted and distinct; made once for a ``key``, which names question and what is seen."""
    found: Codes | None = board.memo.get(key)
    if found is None:
        found = np.array(sorted({crc32(token.encode()) for token in tokens()}), dtype=np.int64)
        board.memo[key] = found
    return found


def words(text: str, most: int = 60) -> list[str]:
    """The first words, numbers and signs of a text, lower-cased."""
    return _WORD.findall(text[: 20 * most].lower())[:most]


def levels(category: str) -> list[str]:
    """The category, and the wider one that it lies in: ``bbh/snarks`` and ``bbh``."""
    wide = category.split("/")[0]
    return [category, wide] if wide != category else [category]


def sums(text: str) -> tuple[int, int]:
    """How many of the calculations written out in a text (``3 x 4 = 12``) hold, and how many do not."""
    right = wrong = 0
    for left, sign, other, result in _SUM.findall(text):
        a, b, c = (float(number.replace(",", "")) for number in (left, other, result))
        value = {"+": a + b, "-": a - b, "*": a * b, "x": a * b, "×": a * b}.get(sign, a / b if b else np.nan)
        close = abs(value - c) <= 0.011 * max(1.0, abs(c) if sign in "/÷" else 1.0)
        right, wrong = right + close, wrong + (not close)
    return right, wrong


def shape(text: str, vote: str) -> list[str]:
    """What an answer looks like: its length, its form, its first word, whether its sums hold."""
    tokens, bare = words(text), text.strip()
    right, wrong = sums(text)
    form = "number" if _NUMBER.fullmatch(bare) else "digits" if re.search(r"\d", text) else "words"
    return [
        f"len:{min(int(np.log2(1 + len(text))), 12)}",
        f"words:{min(len(tokens), 8)}",
        f"first:{tokens[0] if tokens else ''}",
        f"vote:{vote if len(vote) < 3 else 'long'}",
        f"form:{form}",
        f"case:{text[:1].isupper()}{text.isupper()}",
        f"sums:{min(right, 3)}",
        f"wrong sums:{min(wrong, 2)}",
        f"end:{bare[-1:] if bare[-1:] in '.!?)]}' else ''}",
    ]


def seen(board: Board, candidate: Candidate) -> Iterator[str]:
    """Tokens of one candidate: its supporters, alone and with the category, its lead over other votes, its form."""
    q, members = candidate.q, candidate.members
    votes = board.votes_MQ[:, q]
    text, vote = board.answers_MQ[members[0], q], votes[members[0]]
    others = [int(np.sum(votes == other)) for other in set(votes) - {"", vote}]
    forms = shape(text, vote)
    yield f"lead:{max(-3, min(3, len(members) - max(others, default=0)))}"
    yield f"empty:{not vote}"
    yield "set:" + ",".join(map(str, members))
    for m in members:
        yield f"by:{m}"
        for seen_as in (*levels(board.categories[q]), *forms):
            yield f"by:{m}&{seen_as}"
    yield from forms
    length, usual = board.lengths_MQ[members[0], q], board.lengths_MQ[:, q].mean()
    yield f"longer:{np.clip(round(2 * np.log2((1 + length) / (1 + usual))), -6, 6):.0f}"


def told(board: Board, candidate: Candidate) -> Iterator[str]:
    """Further tokens of one candidate: its words, and what the question asks, for each set of supporters."""
    q, members = candidate.q, candidate.members
    asked = words(board.questions[q].split("\n")[0])
    head, inside = " ".join(asked[:2]), set(asked)
    said = words(board.answers_MQ[members[0], q], 12)
    for word in said:
        yield f"w:{word}"
        yield f"{head}:{word}"
    yield f"new words:{min(5, len(set(said) - inside))}"
    yield f"old words:{min(5, len(set(said) & inside))}"
    if len(board.members) < 4:
        group = ",".join(map(str, members))
        yield f"{group}&{head}"
        yield from (f"{group}&q:{word}" for word in inside)


def contrast(board: Board, q: int, a: int, b: int) -> Iterator[str]:
    """Tokens of a disagreement of ``a`` and ``b``: the question, its category, both answers' forms and words."""
    kind = board.categories[q]
    first, second = str(board.answers_MQ[a, q]), str(board.answers_MQ[b, q])
    mine, theirs = board.votes_MQ[a, q], board.votes_MQ[b, q]
    ratio = np.log2((1 + board.lengths_MQ[a, q]) / (1 + board.lengths_MQ[b, q]))
    yield f"pair:{mine}|{theirs}" if max(len(mine), len(theirs)) < 3 else "pair:long"
    yield f"ratio:{np.clip(round(ratio), -5, 5):.0f}"
    for level in levels(kind):
        yield f"cat:{level}"
        yield f"cat:{level}&ratio:{np.clip(round(ratio), -2, 2):.0f}"
    for side, said, vote in (("a", first, mine), ("b", second, theirs)):
        for form in shape(said, vote):
            yield f"{side}:{form}"
            yield f"{side}&{kind}:{form}"
        yield from (f"{side}w:{word}" for word in words(said, 12))
    asked = words(board.questions[q])
    yield from (f"q:{word}" for word in asked)
    yield from (f"q:{one} {two}" for one, two in pairwise(asked))
