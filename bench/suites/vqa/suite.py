"""A benchmark to be asked live: samples with their images and prompts, graded by its rule, and what it publishes."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiflow.bench.judges.judge import Judge
from aiflow.bench.suite import Grade, Record, Sample, Suite
from aiflow.bench.suites.vqa import matcher, mmmu, score
from aiflow.bench.suites.vqa.data import MISSING, Item
from aiflow.bench.suites.vqa.figures import figures
from aiflow.bench.suites.vqa.prompts import prompt
from aiflow.bench.suites.vqa.rules import Rule
from aiflow.bench.suites.vqa.score import Mark
from aiflow.bench.suites.vqa.sources import live
from aiflow.bench.suites.vqa.table import candidates
from aiflow.types import Options

BEST = 100.0
HOW = Options(max_tokens=512, temperature=0.0)
"""What LLaVA is asked with in VLMEvalKit."""


def suite(name: str, data: Path | None = None, judge: Judge | None = None, images: bool = True) -> Suite:
    """The questions of a benchmark to be asked live, and its grader; ``judge`` matches what the rule cannot read.

    ``images``: only questions whose images are here are asked, and the summary counts those left out; False: all are,
    without images, which is for recorded answers. Raises UsageError, and DataError where no image is found.
    """
    benchmark, rule, items = live(candidates(name), data, images)
    own = [item for item in items if item.images] if images else items
    return make(benchmark.name, rule, own, judge, left_out=len(items) - len(own))


def make(name: str, rule: Rule, items: Sequence[Item], judge: Judge | None, left_out: int = 0) -> Suite:
    """The suite of these questions. ``judge`` matches options, and yes and no, where the rule reads nothing.

    ``left_out``: how many questions have no image here, for the summary.
    """
    by_id = {item.id: item for item in items}

    async def grade(sample: Sample, said: Sequence[str]) -> Grade:
        return await _grade(rule, by_id[sample.id], said[-1], judge)

    def summary(records: Sequence[Record]) -> Mapping[str, Any]:
        found = _summary(rule, [by_id[record.sample] for record in records], records)
        counts = {"left_out": left_out, "partial": _partial(rule, items, records)}
        return {**found, **{key: count for key, count in counts.items() if count}}

    samples = [_sample(name, rule, item) for item in items]
    return Suite(name=name, samples=samples, grade=grade, best=BEST, summary=summary)


def _group(rule: Rule, item: Item) -> str:
    """Rotations of one question, or questions on one image."""
    return str(score.question(item)) if rule.collapse is score.circular else item.image


def _sample(name: str, rule: Rule, item: Item) -> Sample:
    own = {"options": dict(item.options), "answer": item.answer, "split": item.split, "image": item.image}
    return Sample(
        id=item.id,
        category=item.category or item.split or name,
        turns=(prompt(item, rule),),
        references=item.right,
        images=item.images,
        options=HOW,
        group=_group(rule, item),
        data={**item.data, **own},
    )


async def _grade(rule: Rule, item: Item, said: str, judge: Judge | None) -> Grade:
    """By the rule; where it reads nothing, by the judge's words, which are read by the same rule.

    An empty answer is scored as VLMEvalKit scores it, as missing.
    """
    mark = rule.mark(item, said or MISSING, random.Random(f"{mmmu.SEED} {item.id}"))
    if mark.read or not rule.unread or judge is None or not said.strip():
        return Grade(score=BEST * mark.value)
    heard = await matcher.match(judge, item, said)
    if heard.value is None:
        return Grade(score=None, judgments=(heard.judgment,))
    named = matcher.letter(heard.value)
    value = rule.mark(item, named, random.Random(0)).value if named else 0.0
    return Grade(score=BEST * value, judgments=(replace(heard.judgment, verdict=heard.value, score=BEST * value),))


def _summary(rule: Rule, items: Sequence[Item], records: Sequence[Record]) -> dict[str, Any]:
    """From the grades that the run holds; questions that a judge left without one are counted as ``unjudged``."""
    known: list[tuple[Item, str, Mark]] = []
    for item, record in zip(items, records, strict=True):
        turn = record.turns[-1]
        if turn.score is None:
            continue
        verdict = next((each.verdict for each in turn.judgments if each.verdict), "")
        read = matcher.letter(verdict) or rule.mark(item, turn.text or MISSING, random.Random(0)).read
        known.append((item, turn.text, Mark(turn.score / BEST, read)))
    if not rule.collapse([(item, mark) for item, _, mark in known]):
        return {"score": None, "n": 0, "unjudged": len(records) - len(known)}
    found = figures(rule, [item for item, _, _ in known], [text for _, text, _ in known], [mark for *_, mark in known])
    return {**found, "unjudged": len(records) - len(known)} if len(known) < len(records) else found


def _partial(rule: Rule, items: Sequence[Item], records: Sequence[Record]) -> int:
    """Of how many groups that count as one (rotations; an image of MME) only some questions were asked."""
    if rule.collapse is not score.circular and rule.report is not score.mme:
        return 0
    asked = {record.sample for record in records}
    known: dict[str, set[bool]] = {}
    for item in items:
        known.setdefault(f"{item.category} {_group(rule, item)}", set()).add(item.id in asked)
    return sum(len(found) == 2 for found in known.values())
