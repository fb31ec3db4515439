"""From texts to the figures that a benchmark publishes, with the counts of what was not understood."""

import random
from collections.abc import Sequence
from typing import Any

from aiflow.bench.suites.vqa.data import MISSING, Item
from aiflow.bench.suites.vqa.mmmu import SEED
from aiflow.bench.suites.vqa.rules import Rule
from aiflow.bench.suites.vqa.score import Mark, question
from aiflow.errors import DataError

Figures = dict[str, Any]


def marks(rule: Rule, items: Sequence[Item], texts: Sequence[str | None]) -> list[Mark]:
    """A mark for every answer; what is missing is scored as VLMEvalKit scores it, as the text ``nan``."""
    rng = random.Random(SEED)
    return [rule.mark(item, MISSING if text is None else text, rng) for item, text in zip(items, texts, strict=True)]


def figures(rule: Rule, items: Sequence[Item], texts: Sequence[str | None], found: Sequence[Mark]) -> Figures:
    """``score`` (the headline), ``n`` questions, of these ``empty`` and not understood, and the published fields.

    Where rotations of a question count as one, ``rows`` counts them all, and ``orphans`` those without the question.
    ``unkeyed`` counts questions whose answer is none that can be given, as a letter that no option has (published
    scores count them as wrong). Raises DataError where no question is left.
    """
    joined = rule.collapse(list(zip(items, found, strict=True)))
    if not joined:
        raise DataError("no question is answered" + (", only rotations of questions are." if items else "."))
    report = rule.report(joined)
    counts = {"n": len(joined), "empty": sum(text is None or not text.strip() for text in texts)}
    if rule.unread:
        counts[rule.unread] = sum(not mark.read for mark in found)
    if without := sum(not rule.keyed(item) for item in items):
        counts["unkeyed"] = without
    if len(joined) < len(items):
        counts["rows"] = len(items)
        whole = {question(item) for item, _ in joined}
        if orphans := sum(question(item) not in whole for item in items):
            counts["orphans"] = orphans
    return {"score": report[rule.headline], **counts, **report}


def of_model(rule: Rule, items: Sequence[Item], model: str) -> Figures:
    """The figures of a recorded model over the questions that the file has it answer (``absent``: the others).

    Raises DataError where none of the file's questions can be answered rightly.
    """
    if not any(map(rule.keyed, items)):
        told = f", but the options {', '.join(items[0].options)}" if items[0].options else ""
        raise DataError(f"no question has a right answer that can be given: the first has {items[0].answer!r}{told}.")
    own = [item for item in items if model in item.said]
    texts = [item.said[model] for item in own]
    found = marks(rule, own, texts)
    result = figures(rule, own, texts, found)
    if len(own) < len(items):
        result["absent"] = len(items) - len(own)
    joined = rule.collapse(list(zip(own, found, strict=True)))
    if known := [(item.hits[model], mark.value) for item, mark in joined if model in item.hits]:
        result["disagree"] = sum(abs(theirs - ours) > 1e-6 for theirs, ours in known)
    return result
