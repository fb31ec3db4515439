"""Arena-Hard live: the questions as they are asked, and a judge that compares each answer with the baseline's, twice.

Knows the protocol, not the files' forms (``data``, ``config``) nor the formulas (``games``, ``score``).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiflow.bench.judges import Judge
from aiflow.bench.judges.verdicts import labels, last_five_way
from aiflow.bench.suite import Grade, Judgment, Record, Sample, Suite, Turn
from aiflow.bench.suites.arena_hard import config, data, games
from aiflow.bench.suites.arena_hard.data import Version
from aiflow.bench.suites.arena_hard.recorded import HEADLINE, NAME, second, standings
from aiflow.bench.suites.arena_hard.replay import recorded_grader
from aiflow.errors import DataError, InputError
from aiflow.types import Answer, Options

MAX_TOKENS = 4096
AGAIN = "continue your judgment and finish by outputting a final verdict label"
"""v0.1: what is said to a judge whose words hold no label."""
_SUBJECT, _BASELINE = "subject", "baseline"
VARIANTS: tuple[Version, ...] = ("v0.1", "v2")


def suite(
    folder: Path | None = None,
    judge: Judge | None = None,
    *,
    variant: str = "v0.1",
    baseline: str | Mapping[str, str] | None = None,
) -> Suite:
    """Arena-Hard for a run. Without a ``judge`` recorded answers are graded by their recorded judgments.

    ``baseline``: a model of ``model_answer``, or question id -> its text; None: the protocol's. Raises DataError.
    """
    if variant not in VARIANTS:
        raise InputError(f"Arena-Hard has no variant {variant!r}; use one of {', '.join(VARIANTS)}.")
    version: Version = "v2" if variant == "v2" else "v0.1"
    found = data.locate(folder, version)
    asked = samples(found)
    if judge is None:
        known = recorded_grader(found)
        return Suite(name=NAME, samples=asked, grade=known, graders=known.of, summary=_SUMMARIES[version])
    how = config.complete(found, asked)
    texts = baseline if isinstance(baseline, Mapping) else _texts(found, asked, how.baseline_model, baseline)
    if lacking := [sample.id for sample in asked if sample.id not in texts]:
        raise DataError(f"the baseline has no answers to the questions {', '.join(lacking[:5])}; give another.")
    return judged(asked, judge, how, texts, version)


def samples(folder: Path) -> tuple[Sample, ...]:
    """The questions, to be answered greedily. Raises DataError."""
    options = Options(max_tokens=MAX_TOKENS, temperature=0.0)
    return tuple(
        Sample(
            id=question.id,
            category=question.category,
            turns=(question.prompt,),
            options=options,
            data={"subcategory": question.subcategory, "version": question.version},
        )
        for question in data.questions(folder)
    )


def judged(
    asked: Sequence[Sample], judge: Judge, how: config.Config, texts: Mapping[str, str], version: Version
) -> Suite:
    """Every answer meets the baseline's (``texts``: question id -> text) in two games.

    A question's score is what the subject got, 0..100, a game with ``>>`` weighing three; ``summary`` has the published
    figures, which weigh all games at once. A judgment's verdict is the label, its score the subject's. A subject that
    failed to answer lost both games.
    """
    options = Options(max_tokens=how.max_tokens, temperature=how.temperature)

    async def game(sample: Sample, said: str, number: int) -> Judgment:
        a, b = (said, texts[sample.id]) if number else (texts[sample.id], said)
        heard = await judge.hear(
            how.ask(sample, a, b),
            _all_labels if version == "v0.1" else _last_label,
            options=options,
            label=f"game {number + 1}",
            again=AGAIN if version == "v0.1" else None,
        )
        label = heard.value[0] if heard.value and len(heard.value) == 1 else None
        known = games.verdict(label, number, version)
        return replace(heard.judgment, verdict=label or "", score=None if known is None else 100.0 * known.points)

    async def grade(sample: Sample, said: Sequence[str]) -> Grade:
        told = await asyncio.gather(game(sample, said[-1], 0), game(sample, said[-1], 1))
        found = games.verdicts([one.verdict for one in told], version)
        return Grade(score=games.share(found), judgments=tuple(told))

    return Suite(name=NAME, samples=asked, grade=grade, summary=_SUMMARIES[version])


def _texts(folder: Path, asked: Sequence[Sample], default: str, named: str | None) -> dict[str, str]:
    known = data.answers(folder)
    found = {}
    for sample in asked:
        own = data.BASELINES.get(sample.category, data.BASELINE_2) if sample.data["version"] == "v2" else default
        name = named or own
        if name not in known:
            raise DataError(f"{folder / data.ANSWERS} has no answers of the baseline {name!r}; add {name}.jsonl there.")
        if sample.id in known[name]:
            found[sample.id] = known[name][sample.id]
    return found


def _all_labels(answer: Answer) -> tuple[str, ...] | None:
    """All distinct labels: v0.1 asks again only where there is none, not where they contradict each other."""
    return labels(answer.text) or None


def _last_label(answer: Answer) -> tuple[str, ...] | None:
    found = last_five_way(answer.text)
    return (found,) if found else None


def _verdicts(turn: Turn, version: Version) -> list[games.Verdict | None]:
    if turn.error:
        return [games.Verdict(0.0, 1)] * 2
    weights = {label: weight for label, (_, weight) in games.LABELS[version].items()}
    found = [
        None if told.score is None else games.Verdict(told.score / 100.0, weights.get(told.verdict, 1))
        for told in turn.judgments
    ]
    return [None] * len(found) if version == "v2" and None in found else found


def _summary(records: Sequence[Record]) -> Mapping[str, Any]:
    rows, dropped = [], 0
    for record in records:
        found = _verdicts(record.turns[0], "v0.1")
        dropped += found.count(None)
        rows += games.battles(record.sample, _SUBJECT, _BASELINE, found)
    known = standings(rows, _BASELINE)[_SUBJECT] if rows else {"score": None}
    return {**known, "dropped": dropped, "errors": sum(bool(record.turns[0].error) for record in records)}


def _summary_2(records: Sequence[Record]) -> Mapping[str, Any]:
    by_category: dict[str, list[list[games.Verdict | None]]] = {}
    for record in records:
        by_category.setdefault(record.category, []).append(_verdicts(record.turns[0], "v2"))
    found = {category: second(verdicts) for category, verdicts in by_category.items()}
    headline = found.get(HEADLINE) or next(iter(found.values()), {"score": None})
    errors = sum(bool(record.turns[0].error) for record in records)
    return {**headline, "categories": found, "errors": errors}


_SUMMARIES = {"v0.1": _summary, "v2": _summary_2}
