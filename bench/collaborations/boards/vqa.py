"""Boards of the recorded VQA suites: answers of VILA-8B and VILA-13B, and of four models on MMMU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aiflow.bench.collaborations.board import Board, Ints
from aiflow.bench.collaborations.boards.make import Entry, make, together
from aiflow.bench.suites.vqa import rules
from aiflow.bench.suites.vqa.data import MISSING, Item
from aiflow.bench.suites.vqa.figures import marks
from aiflow.bench.suites.vqa.rules import Rule
from aiflow.bench.suites.vqa.score import Mark, question
from aiflow.bench.suites.vqa.words import normal

SUITES = ("MME", "SEEDBench", "OCRBench", "ChartQA", "RealWorldQA", "ScienceQA", "TextVQA", "OCRVQA", "CCBench")
"""Those that the same two models answered."""
_READ = ("unmatched", "unparsed")
_SIZES = {"qwen_vl": 9.6, "qwen_vl_chat_vlmevalkit": 9.6}
"""Billions of parameters of models whose names do not tell (Qwen-VL's report)."""


def board(name: str, data: Path | None = None) -> Board:
    """The board of a suite (a name of ``aiflow.bench.suites.vqa``), its published figures among them. DataError."""
    from aiflow.bench.suites.vqa.sources import answered, chosen
    from aiflow.bench.suites.vqa.table import candidates

    benchmark, place = chosen(candidates(name), data)
    found = [(rule, items, _models(items)) for rule, items in answered(benchmark, place)]
    rule, items, members = max(found, key=lambda one: len(one[2]))
    kept = [item for item in items if all(m in item.said for m in members)]
    marked = {m: marks(rule, kept, [item.said[m] for item in kept]) for m in members}
    entries = [_entry(rule, item, members, [marked[m][q] for m in members]) for q, item in enumerate(kept)]
    return make(benchmark.family, members, entries, **_form(rule, members), figures=_figures(rule, kept, marked))


def mixed(data: Path | None = None, suites: tuple[str, ...] = SUITES, name: str = "VQA, 9 suites mixed") -> Board:
    """All questions of several suites as one stream of work, each counting the same by its suite's rule."""
    return together(name, [board(suite, data) for suite in suites])


def _models(items: list[Item]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(model for item in items for model in item.said))


def _form(rule: Rule, members: tuple[str, ...]) -> dict[str, Any]:
    from aiflow.bench.collaborations.boards.make import billions

    form: dict[str, Any] = {"kind": "VQA", "costs_M": tuple(_SIZES.get(m) or billions(m) for m in members)}
    if rule in (rules.MME, rules.MME_OWN):
        form |= {"rule": "mean+all", "balanced": True, "best": 2800.0, "unit": "/2800"}
    if rule is rules.CIRCULAR:
        form |= {"rule": "all"}
    return form


def _entry(rule: Rule, item: Item, members: tuple[str, ...], found: list[Mark]) -> Entry:
    said = [MISSING if item.said[m] is None else str(item.said[m]) for m in members]
    listed = "".join(f"\n{letter}. {text}" for letter, text in item.options.items())
    group = item.image if rule in (rules.MME, rules.MME_OWN) else ""
    return Entry(
        id=item.id,
        question=item.question + listed,
        category=item.category or item.split,
        group=group or (str(question(item)) if rule is rules.CIRCULAR else ""),
        answers=[item.options.get(mark.read, text) for mark, text in zip(found, said, strict=True)],
        votes=[mark.read if rule.unread in _READ else normal(text) for mark, text in zip(found, said, strict=True)],
        scores=[mark.value for mark in found],
        lengths=[len(text) for text in said],
    )


def _figures(rule: Rule, items: list[Item], marked: Mapping[str, list[Mark]]) -> Any:
    """What the benchmark publishes of a pick."""
    place = {item.id: q for q, item in enumerate(items)}

    def figures(part: Board, who_Q: Ints) -> Mapping[str, Any]:
        chosen = [
            (items[place[name]], marked[part.members[int(m)]][place[name]])
            for name, m in zip(part.ids, who_Q, strict=True)
        ]
        report = rule.report(rule.collapse(chosen))
        return {name: value for name, value in report.items() if isinstance(value, float | int | np.floating)}

    return figures
