"""What each benchmark publishes of marked answers: means by split, ability and category, F1, pairs. Pure.

A mark is of one answer; a report is made of all marks of a model, under the published names and on the published
scale, with the headline as ``score``.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiflow.bench.suites.vqa.data import Item
from aiflow.bench.suites.vqa.mmmu import DOMAINS
from aiflow.bench.suites.vqa.ocrbench import PARTS, RECOGNISED, RECOGNITION
from aiflow.errors import DataError, suggest

Report = dict[str, Any]
ROTATION = 1_000_000
PERCEIVED = ("OCR", "artwork", "celebrity", "color", "count", "existence", "landmark", "position", "posters", "scene")
REASONED = ("code_reasoning", "commonsense_reasoning", "numerical_calculation", "text_translation")
_ABILITIES = {
    "coarse_perception": "CP",
    "finegrained_perception (instance-level)": "FP-S",
    "finegrained_perception (cross-instance)": "FP-C",
    "logic_reasoning": "LR",
    "relation_reasoning": "RR",
    "attribute_reasoning": "AR",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """The score of an answer, 0..1, and what was read out of it (empty: nothing)."""

    value: float
    read: str = ""


Marked = Sequence[tuple[Item, Mark]]


def plain(marked: Marked) -> Marked:
    """Every answer counts."""
    return marked


def circular(marked: Marked) -> Marked:
    """A question counts once, and is right if it is so in every rotation: those of index + k * 10^6 (MMBench).

    Rotations of a question that is not there do not count. Raises DataError for an index that is no number.
    """
    groups: dict[int, list[tuple[Item, Mark]]] = defaultdict(list)
    for item, mark in marked:
        groups[question(item)].append((item, mark))
    return [
        (item, Mark(float(all(each.value == 1 for _, each in group)), mark.read))
        for group in groups.values()
        for item, mark in group
        if int(item.id) < ROTATION
    ]


def question(item: Item) -> int:
    """The index of the question that the item is a rotation of. Raises DataError for an index that is no number."""
    if not item.id.isdecimal():
        raise DataError(f"index {item.id!r} is no number, which the rotations of a question need.")
    return int(item.id) % ROTATION


def choices(marked: Marked) -> Report:
    """Shares of 1: overall, by ability and by category; of every split, where there are several."""
    return _by_split(marked, _shares)


def validated(marked: Marked) -> Report:
    """As ``choices``; where there are several splits the figures are those of ``validation`` (MMMU)."""
    report = choices(marked)
    validation = report.get("splits", {}).get("validation")
    return {**report, "split": "validation", **validation} if validation else report


def percents(marked: Marked) -> Report:
    """Percents: of every split and overall, or overall and of every category (VLMEvalKit's VQA suites)."""
    splits = _grouped(marked, lambda item: item.split)
    if splits:
        return {name: 100 * share for name, share in splits.items()} | {"Overall": 100 * mean(marked)}
    groups = _grouped(marked, lambda item: item.category)
    return {"Overall": 100 * mean(marked)} | {name: 100 * share for name, share in groups.items()}


def mme(marked: Marked) -> Report:
    """Accuracy + accuracy of both questions on an image, a category of 200 each; perception and cognition add them.

    Cognition is published as ``reasoning`` by VLMEvalKit. Both are None where a category is missing.
    """
    found: dict[str, float] = {}
    for category, group in _groups(marked, lambda item: item.category).items():
        images = _groups(group, lambda item: item.image)
        both = sum(all(mark.value for _, mark in pair) for pair in images.values())
        found[category] = 100 * mean(group) + 100 * both / len(images)
    perception, cognition = (
        sum(found[name] for name in names) if all(name in found for name in names) else None
        for names in (PERCEIVED, REASONED)
    )
    total = None if perception is None or cognition is None else perception + cognition
    return {"perception": perception, "reasoning": cognition, "cognition": cognition, "total": total, **found}


def pope(marked: Marked) -> Report:
    """F1 of yes, accuracy, precision and recall in percent; a question of several categories counts in each."""
    parts = [(part, entry) for entry in marked for part in (entry[0].category or "").split(",")]
    groups: dict[str, list[tuple[Item, Mark]]] = defaultdict(list)
    for part, entry in parts:
        groups[part].append(entry)
    splits = {name: _detected(group) for name, group in sorted(groups.items()) if name}
    return {"split": "Overall", **_detected([entry for _, entry in parts]), "splits": splits}


def hallusion(marked: Marked) -> Report:
    """Accuracy of answers, of figures and of questions (all of one right) in percent, overall and by category.

    Raises DataError where an index does not tell set, figure and question (``..._3_1_0``).
    """
    groups = _groups(marked, lambda item: item.category) | _groups(marked, ability)
    return {
        "split": "Overall",
        **_consistent(marked),
        "splits": {name: _consistent(group) for name, group in groups.items()},
    }


def ocrbench(marked: Marked) -> Report:
    """How many of each part are right, and of all 1000. Raises DataError for a category that OCRBench has not."""
    counts: dict[str, int] = dict.fromkeys((RECOGNITION, *PARTS), 0)
    for item, mark in marked:
        part = RECOGNITION if item.category in RECOGNISED else item.category
        if part not in counts:
            raise DataError(f"question {item.id!r} is of the unknown category {part!r}; {suggest(part, list(counts))}")
        counts[part] += int(mark.value)
    final = sum(counts.values())
    return {**counts, "Final Score": final, "Final Score Norm": final / 10}


def subjects(marked: Marked) -> Report:
    """MMMU's own report: shares to three decimals, overall, of every domain and of every subject; and the counts."""
    groups = _groups(marked, lambda item: item.category)
    domains: dict[str, Marked] = {
        f"Overall-{domain}": [entry for name in names for entry in groups.get(name, ())]
        for domain, names in DOMAINS.items()
    }
    parts = {"Overall": marked, **domains, **groups}
    return {
        **{name: round(mean(part), 3) for name, part in parts.items() if part},
        "correct": sum(mark.value == 1 for _, mark in marked),
        "num": {name: len(part) for name, part in parts.items() if part},
    }


def mean(marked: Marked) -> float:
    """The mean of the marks. Raises ZeroDivisionError without any."""
    return math.fsum(mark.value for _, mark in marked) / len(marked)


def ability(item: Item) -> str:
    """MMBench's second level (``l2-category``), HallusionBench's too; empty if there is none."""
    return str(item.data.get("l2-category") or "")


def _by_split(marked: Marked, shares: Callable[[Marked], Report]) -> Report:
    splits = _groups(marked, lambda item: item.split)
    if len(splits) < 2:
        return {"split": next(iter(splits), "none"), **shares(marked)}
    return {"split": "ALL", **shares(marked), "splits": {name: shares(group) for name, group in splits.items()}}


def _shares(marked: Marked) -> Report:
    abilities = {_ABILITIES.get(name, name): share for name, share in _grouped(marked, ability).items()}
    return {"Overall": mean(marked), **abilities, **_grouped(marked, lambda item: item.category)}


def _groups(marked: Iterable[tuple[Item, Mark]], key: Callable[[Item], str]) -> dict[str, Marked]:
    """By name; what has none is in no group."""
    found: dict[str, list[tuple[Item, Mark]]] = defaultdict(list)
    for item, mark in marked:
        if name := key(item):
            found[name].append((item, mark))
    return {name: found[name] for name in sorted(found)}


def _grouped(marked: Marked, key: Callable[[Item], str]) -> dict[str, float]:
    return {name: mean(group) for name, group in _groups(marked, key).items()}


def _detected(marked: Marked) -> Report:
    pairs = [(item.answer.strip().capitalize() == "Yes", mark.read == "Yes") for item, mark in marked]
    hits = sum(gold and said for gold, said in pairs)
    said, gold = sum(said for _, said in pairs), sum(gold for gold, _ in pairs)
    precision, recall = hits / said if said else 0.0, hits / gold if gold else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"Overall": 100 * f1, "acc": 100 * mean(marked), "precision": 100 * precision, "recall": 100 * recall}


def _consistent(marked: Marked) -> Report:
    def share(place: int) -> float:
        groups = _groups(marked, lambda item: f"{ability(item)}_{_part(item, 3)}_{_part(item, place)}")
        return 100 * sum(all(mark.value for _, mark in group) for group in groups.values()) / len(groups)

    return {"aAcc": 100 * mean(marked), "fAcc": share(4), "qAcc": share(5)}


def _part(item: Item, place: int) -> str:
    parts = item.id.split("_")
    if len(parts) < 6:
        raise DataError(f"index {item.id!r} does not tell set, figure and question, as in 'VD_a_b_1_0_2'.")
    return parts[place]
