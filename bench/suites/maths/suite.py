"""Live runs of the maths suites: what models are asked, and the grader. Reads problems; scores by ``score``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiflow.bench.judges.judge import Judge
from aiflow.bench.suite import Grade, Grader, Judgment, Record, Sample, Suite
from aiflow.bench.suites.maths.data import Problem, problems
from aiflow.bench.suites.maths.score import RULES, pass_at_k
from aiflow.errors import InputError
from aiflow.types import Options

PROMPT = "{problem}\n\nReason step by step, and put the final answer in \\boxed{{}}."
INTEGER = " The answer is an integer from 0 to 999."
GREEDY = Options(max_tokens=2048)
JUDGE = "final answer"


def suite(
    name: str,
    data: Path | None = None,
    judge: Judge | None = None,
    *,
    options: Options = GREEDY,
    samples: int = 1,
    limit: int | None = None,
) -> Suite:
    """``gsm8k``, ``math-500`` or ``aime-2024``; pass@1 is the headline.

    ``samples`` of each problem are drawn, as the seeds ``options.seed`` (else 0), +1, ...; more than one needs a
    temperature. ``limit``: the first problems only. A judge is not needed, and not asked. Raises DataError, InputError.
    """
    del judge
    if samples < 1 or (samples > 1 and options.temperature == 0):
        raise InputError(f"{samples} samples at temperature {options.temperature}; give 1, or a temperature above 0.")
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} leaves no problems; give 1 or more.")
    known = problems(name, data)[:limit]
    drawn = tuple(_sample(name, p, n, samples, options) for p in known for n in range(samples))
    groups = {sample.id: sample.group for sample in drawn}

    def summary(records: Sequence[Record]) -> Mapping[str, Any]:
        return summarise(records, groups)

    return Suite(name=name, samples=drawn, grade=grader(name), summary=summary)


def grader(name: str) -> Grader:
    """100 or 0 by the suite's rule; the judgment holds the answer that was read, and no verdict where there is none."""
    rule = RULES[name]

    async def grade(sample: Sample, said: Sequence[str]) -> Grade:
        found = rule.extract(said[-1])
        right = found is not None and rule.equal(found, sample.references[0])
        verdict = "" if found is None else "right" if right else "wrong"
        score = 100.0 * right
        return Grade(score=score, judgments=(Judgment(judge=JUDGE, text=found or "", verdict=verdict, score=score),))

    return grade


def summarise(records: Sequence[Record], groups: Mapping[str, str]) -> dict[str, Any]:
    """pass@1 (and pass@n for n samples) in percent; texts without an answer and errors are wrong, and counted apart."""
    counts: dict[str, list[bool]] = {}
    for record in records:
        counts.setdefault(groups[record.sample], []).append(record.score == 100.0)
    turns = [turn for record in records for turn in record.turns]
    right = [(len(found), sum(found)) for found in counts.values()]
    fewest = min((n for n, _ in right), default=0)
    ks = [1, *([fewest] if fewest > 1 else [])] if fewest else []
    return {
        **{f"pass@{k}": pass_at_k(right, k) for k in ks},
        "problems": len(right),
        "samples": len(records),
        "unparsed": sum(j.verdict == "" for turn in turns for j in turn.judgments),
        "errors": sum(bool(turn.error) for turn in turns),
    }


def _sample(name: str, problem: Problem, number: int, count: int, options: Options) -> Sample:
    how = options if count == 1 else replace(options, seed=(options.seed or 0) + number)
    return Sample(
        id=problem.id if count == 1 else f"{problem.id}#{number + 1}",
        category=problem.category,
        turns=(PROMPT.format(problem=problem.text) + (INTEGER if name == "aime-2024" else ""),),
        references=(problem.answer,),
        options=how,
        group=problem.id,
    )
