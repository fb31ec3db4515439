"""MT-Bench live: the questions as they are asked, and judges that rate an answer or compare it with a baseline's.

Knows the protocol, not the files' forms (``data``, ``fastchat``) nor the formulas (``score``).
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiflow.bench.judges import Judge, rating
from aiflow.bench.judges.verdicts import Winner, letter
from aiflow.bench.suite import Grade, Grader, Judgment, Record, Sample, Suite
from aiflow.bench.suites.mt_bench import data, score
from aiflow.bench.suites.mt_bench.prompts import NEED_REFERENCE, Prompts
from aiflow.bench.suites.mt_bench.recorded import BASELINE, answers, recorded_grader
from aiflow.errors import DataError, InputError
from aiflow.types import Answer, Options

TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
OTHERWISE = 0.7
MAX_TOKENS = 1024
JUDGING = Options(max_tokens=2048, temperature=0.0)
VARIANTS = ("single", "pairwise")
_POINTS = {"win": 100.0, "tie": 50.0, "loss": 0.0}


def suite(
    folder: Path | None = None,
    judge: Judge | None = None,
    *,
    variant: str = "single",
    baseline: str | Mapping[str, Sequence[str]] = BASELINE,
) -> Suite:
    """MT-Bench for a run: answers rated (``single``), or compared with a baseline's (``pairwise``).

    Without a ``judge`` recorded answers are graded by their recorded judgments. ``baseline``, for pairs: a recorded
    model, or question id -> its texts. Raises DataError.
    """
    if variant not in VARIANTS:
        raise InputError(f"MT-Bench has no variant {variant!r}; use one of {', '.join(VARIANTS)}.")
    found = data.locate(folder)
    if variant == "single":
        if judge:
            return single(found, judge)
        replayed = recorded_grader(found)
        return replace(rated(samples(found), replayed), graders=replayed.of)
    if judge is None:
        raise DataError("pairs of recorded answers were not judged; give a judge.")
    if not isinstance(baseline, str):
        return pairwise(found, judge, baseline)
    known = answers(found)
    if baseline not in known:
        raise DataError(f"no answers of the baseline {baseline!r} in {found}; use one of {', '.join(sorted(known))}.")
    return pairwise(found, judge, known[baseline])


def samples(folder: Path) -> tuple[Sample, ...]:
    """The questions with the options that the protocol prescribes, and GPT-4's references where judges are shown them.

    Sampled answers are seeded by the question's id, so that they can be repeated. Raises DataError.
    """
    known = data.references(folder)
    return tuple(_sample(folder, question, known) for question in data.questions(folder))


def _sample(folder: Path, question: data.Question, known: Mapping[str, tuple[str, ...]]) -> Sample:
    references = known.get(question.id, ()) if question.category in NEED_REFERENCE else ()
    if not 1 <= len(question.turns) <= 2:
        told = f"question {question.id} has {len(question.turns)} turns, not 1 or 2"
        raise DataError(f"{folder / data.QUESTIONS}: {told}; remove it.")
    if question.category in NEED_REFERENCE and len(references) < len(question.turns):
        raise DataError(
            f"{folder / data.REFERENCES} has no reference answers to question {question.id} ({question.category}); "
            f"get the file from {data.URLS[data.REFERENCES]}."
        )
    own = question.required_temperature
    temperature = TEMPERATURES.get(question.category, OTHERWISE) if own is None else own
    options = Options(max_tokens=MAX_TOKENS, temperature=temperature, seed=_seed(question.id) if temperature else None)
    return Sample(
        id=question.id,
        category=question.category,
        turns=question.turns,
        references=references,
        options=options,
    )


def single(folder: Path, judge: Judge) -> Suite:
    """Every answer is rated 1..10 by itself. Raises DataError."""
    prompts = Prompts.read(folder)

    async def grade(sample: Sample, said: Sequence[str]) -> Grade:
        heard = await judge.hear(prompts.single(sample, said), _rating, options=JUDGING, label=f"turn {len(said)}")
        verdict = "" if heard.value is None else f"{heard.value:g}"
        judgment = replace(heard.judgment, verdict=verdict, score=heard.value)
        return Grade(score=heard.value, judgments=(judgment,))

    return rated(samples(folder), grade)


def rated(asked: Sequence[Sample], grade: Grader) -> Suite:
    """MT-Bench with any grader that rates 1..10."""

    def summary(records: Sequence[Record]) -> Mapping[str, Any]:
        turns = [(record, n, turn) for record in records for n, turn in enumerate(record.turns, 1)]
        found = score.figures(
            [score.Rated(question=r.sample, category=r.category, turn=n, value=t.score) for r, n, t in turns]
        )
        return {**found, "errors": sum(bool(turn.error) for _, _, turn in turns)}

    return Suite(name="mt-bench", samples=asked, grade=grade, best=score.BEST, unit="", summary=summary)


def pairwise(folder: Path, judge: Judge, baseline: Mapping[str, Sequence[str]]) -> Suite:
    """Every answer is compared twice, places swapped, with the ``baseline``'s: question id -> its texts.

    100 for a win, 50 for a tie, 0 for a loss; a win or loss counts only where both games agree. In game 1 the subject
    is A; a judgment's verdict is the winning place (A, B or tie), its score the subject's. Raises DataError.
    """
    prompts, asked = Prompts.read(folder), samples(folder)
    lacking = [sample.id for sample in asked if len(baseline.get(sample.id, ())) < len(sample.turns)]
    if lacking:
        raise DataError(f"the baseline has no answers to the questions {', '.join(lacking[:5])}; give another.")

    async def grade(sample: Sample, said: Sequence[str]) -> Grade:
        other = list(baseline[sample.id][: len(said)])
        games = await asyncio.gather(
            _game(judge, prompts, sample, (said, other), 1), _game(judge, prompts, sample, (other, said), 2)
        )
        (first, _), (second, _) = games
        found = score.outcome(score.Pair(model_1="subject", model_2="baseline", first=first, second=second))
        return Grade(score=None if found is None else _POINTS[found], judgments=tuple(told for _, told in games))

    return Suite(name="mt-bench-pairwise", samples=asked, grade=grade, summary=_pair_summary)


async def _game(
    judge: Judge, prompts: Prompts, sample: Sample, places: tuple[Sequence[str], Sequence[str]], game: int
) -> tuple[score.GameWinner, Judgment]:
    heard = await judge.hear(prompts.pair(sample, *places), _letter, options=JUDGING, label=f"game {game}")
    if heard.value is None:
        return "error", heard.judgment
    mine: Winner = "A" if game == 1 else "B"
    winner: score.GameWinner = "tie" if heard.value == "tie" else "model_1" if heard.value == mine else "model_2"
    points = {"model_1": 100.0, "tie": 50.0, "model_2": 0.0}[winner]
    return winner, replace(heard.judgment, verdict=heard.value, score=points)


def _pair_summary(records: Sequence[Record]) -> Mapping[str, Any]:
    named = {points: name for name, points in _POINTS.items()}
    turns = [turn for record in records for turn in record.turns]
    count = Counter("unparsed" if turn.score is None else named[turn.score] for turn in turns)
    found = score.rates(count)
    headline = {"win_rate_adjusted": found.pop("win_rate_adjusted")}
    return {**headline, **found, "errors": sum(bool(turn.error) for turn in turns)}


def _rating(answer: Answer) -> float | None:
    """A rating on the scale that was asked for: a live judge that says 55 of 10 was not understood."""
    found = rating(answer.text)
    return found if found is not None and 1 <= found <= score.BEST else None


def _letter(answer: Answer) -> Winner | None:
    return letter(answer.text)


def _seed(name: str) -> int:
    return int(name) if name.isdecimal() and len(name) < 10 else zlib.crc32(name.encode())
