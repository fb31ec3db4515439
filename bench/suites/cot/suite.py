"""Live runs of the chain-of-thought tasks: how they are posed, and the grader. The wording of the prompt is ours; its
form (reasoning first, the answer alone on the last line) is FastEval's, which asks at temperature 0.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiflow.bench.judges.judge import Judge
from aiflow.bench.suite import Grade, Judgment, Record, Sample, Suite
from aiflow.bench.suites.cot import data as _data
from aiflow.bench.suites.cot.data import Question
from aiflow.bench.suites.cot.score import BENCHMARKS, Benchmark, benchmark, credit, extract, scores
from aiflow.errors import InputError
from aiflow.types import Options

GREEDY = Options(max_tokens=2048)
JUDGE = "final line"
_FORM: Mapping[Benchmark, str] = {
    "gsm8k": "as a single number",
    "math": "as a formula",
    "bbh": "as a letter in parentheses",
    "mmlu": "as a letter in parentheses",
}
_PROMPT = (
    "Explain your reasoning step by step first. Then give the answer {form}, alone on the last line.\n\n{question}"
)


def suite(
    data: Path | None = None,
    judge: Judge | None = None,
    *,
    benchmarks: Collection[str] = BENCHMARKS,
    options: Options = GREEDY,
    limit: int | None = None,
) -> Suite:
    """The tasks of some benchmarks; ``limit``: the first questions of each task only. A judge is not asked.

    Raises DataError, InputError.
    """
    del judge
    strange = set(benchmarks) - set(BENCHMARKS)
    if strange or not benchmarks or (limit is not None and limit < 1):
        raise InputError(f"benchmarks {sorted(benchmarks)}, limit {limit}: use {', '.join(BENCHMARKS)}, and 1 or more.")
    known = _data.questions(_data.locate(data))
    asked = {
        f"{task}/{name}": question
        for task, rows in known.items()
        if benchmark(task) in benchmarks
        for name, question in list(rows.items())[:limit]
    }

    async def grade(sample: Sample, said: Sequence[str]) -> Grade:
        question = asked[sample.id]
        vote = extract(question.task, said[-1], question.text)
        score = 100.0 * credit(question.task, vote, question.gold, question.text)
        verdict = "" if vote is None else "right" if score == 100.0 else "wrong"
        return Grade(score=score, judgments=(Judgment(judge=JUDGE, text=vote or "", verdict=verdict, score=score),))

    def summary(records: Sequence[Record]) -> Mapping[str, Any]:
        return summarise(records, {name: question.task for name, question in asked.items()})

    samples = [_sample(name, question, options) for name, question in asked.items()]
    return Suite(name="cot", samples=samples, grade=grade, summary=summary)


def summarise(records: Sequence[Record], tasks: Mapping[str, str]) -> dict[str, Any]:
    """The published scores, of 0..1; ``unparsed`` texts and ``errors`` are counted apart. ``tasks``: by sample id."""
    credits: dict[str, list[float]] = {}
    for record in records:
        credits.setdefault(tasks[record.sample], []).append((record.score or 0.0) / 100)
    found = scores(credits)
    turns = [turn for record in records for turn in record.turns]
    return {
        "total": found.pop("total"),
        **{name: score for name, score in found.items() if score is not None},
        "unparsed": sum(not judgment.verdict for turn in turns for judgment in turn.judgments),
        "errors": sum(bool(turn.error) for turn in turns),
    }


def _sample(name: str, question: Question, options: Options) -> Sample:
    prompt = _PROMPT.format(form=_FORM[benchmark(question.task)], question=question.text)
    return Sample(
        id=name, category=benchmark(question.task), turns=(prompt,), references=(question.gold,), options=options
    )
