"""How an answer is marked and what is made of the marks: a rule each for the kinds of benchmark. Pure."""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass, replace

from aiflow.bench.suites.vqa import mmmu, ocrbench, score, text
from aiflow.bench.suites.vqa.data import MISSING, Item
from aiflow.bench.suites.vqa.options import NONE, infer
from aiflow.bench.suites.vqa.score import Mark, Marked, Report
from aiflow.bench.suites.vqa.yes_no import opened, stated

Marker = Callable[[Item, str, random.Random], Mark]
Compare = Callable[[tuple[str, ...], str], float]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """``mark`` scores an answer, ``collapse`` joins answers that count as one, ``report`` publishes; all in order.

    ``headline``: the field of the report that is the score. ``needs``: the columns without which nothing can be scored.
    ``unread``: what the count of answers is called out of which nothing was read (empty: everything is read).
    ``short``: whether a word or a phrase is asked for, where a question has no options. ``keyed``: whether a question
    has an answer that can be given; one without is wrong whatever is said.
    """

    mark: Marker
    report: Callable[[Marked], Report]
    collapse: Callable[[Marked], Marked] = score.plain
    headline: str = "Overall"
    needs: tuple[str, ...] = ("question", "answer")
    unread: str = ""
    short: bool = True
    keyed: Callable[[Item], bool] = lambda item: item.answer != MISSING and bool(item.right)


def choice(item: Item, said: str, rng: random.Random) -> Mark:
    """The option that is named is the right one."""
    del rng
    return _named(infer(said, item.options), item.answer)


def opened_choice(item: Item, said: str, rng: random.Random) -> Mark:
    """As ``choice``; an open question has its answer as option A beside other answers (VLMEvalKit on MMMU)."""
    del rng
    gold = item.answer if len(item.answer) == 1 and item.answer in string.ascii_uppercase else "A"
    own = item.options if "A" in item.options else {**item.options, "A": item.answer, "B": "Other Answers"}
    return _named(infer(said, dict(sorted(own.items()))), gold)


def yes_no(item: Item, said: str, rng: random.Random) -> Mark:
    """The one of the words yes and no that is said is the right one."""
    del rng
    read = stated(said)
    return Mark(float(read == item.answer.strip().capitalize()), read)


def first_four(item: Item, said: str, rng: random.Random) -> Mark:
    """MME's own tool: the answer begins with the right word."""
    del rng
    read = opened(said)
    return Mark(float(read == item.answer.strip().capitalize()), read)


def by(compare: Compare) -> Marker:
    """A marker that compares texts with all right ones."""

    def mark(item: Item, said: str, rng: random.Random) -> Mark:
        del rng
        return Mark(float(compare(item.right, said)), said)

    return mark


def contains(item: Item, said: str, rng: random.Random) -> Mark:
    """OCRBench."""
    del rng
    return Mark(ocrbench.contains(item.right, said, item.category), said)


def mmmu_own(item: Item, said: str, rng: random.Random) -> Mark:
    """MMMU's tool. Where no option is named, one is drawn, and nothing was read."""
    if not item.options:
        return Mark(float(mmmu.right(item.right, mmmu.held(said))), said)
    read = mmmu.letter(said, item.options)
    return Mark(float((read or mmmu.drawn(item.options, rng)) == item.answer), read)


def mmmu_parsed(item: Item, said: str, rng: random.Random) -> Mark:
    """MMMU's tool on answers that it has parsed: what is named is the letter itself."""
    return Mark(float(said == item.answer), said) if item.options else mmmu_own(item, said, rng)


def _lettered(item: Item) -> bool:
    return item.answer in item.options


def _stated(item: Item) -> bool:
    return item.answer.strip().capitalize() in ("Yes", "No")


def _named(read: str, gold: str) -> Mark:
    return Mark(float(read == gold), "" if read == NONE else read)


_OPTIONS = ("question", "answer", "options")
CHOICE = Rule(mark=choice, report=score.choices, needs=_OPTIONS, unread="unmatched", keyed=_lettered)
CIRCULAR = replace(CHOICE, collapse=score.circular)
MMMU_CHOICE = Rule(mark=opened_choice, report=score.validated, needs=_OPTIONS, unread="unmatched")
MMMU_OWN = Rule(mark=mmmu_own, report=score.subjects, needs=("answer", "category"), unread="unmatched")
MMMU_PARSED = Rule(mark=mmmu_parsed, report=score.subjects)
MME = Rule(
    mark=yes_no,
    report=score.mme,
    headline="perception",
    needs=("question", "answer", "category", "image"),
    unread="unparsed",
    keyed=_stated,
)
MME_OWN = replace(MME, mark=first_four)
POPE = Rule(mark=yes_no, report=score.pope, unread="unparsed", keyed=_stated)
HALLUSION = replace(POPE, report=score.hallusion, headline="aAcc", needs=("question", "answer", "l2-category"))
VQA = Rule(mark=by(text.vqa), report=score.percents)
RELAXED = Rule(mark=by(text.relaxed), report=score.percents)
EXACT = Rule(mark=by(text.exact), report=score.percents)
ANLS = Rule(mark=by(text.anls), report=score.percents)
OCRBENCH = Rule(
    mark=contains,
    report=score.ocrbench,
    headline="Final Score",
    needs=("question", "answer", "category"),
    short=False,
)
