"""MT-Bench as a suite whose scorer looks up the recorded judgment of a recorded answer."""

from collections.abc import Sequence

from aiflow.bench.suite import Sample, Suite, by_rule, spread
from aiflow.bench.suites.mt_bench.data import Recorded
from aiflow.errors import DataError, InputError


def mt_bench_suite(recorded: Recorded, limit: int | None = None) -> Suite:
    """The recorded questions, or ``limit`` of them, taken from each category in turn."""
    if limit is not None and limit < 1:
        raise InputError(f"a suite of {limit} questions says nothing; ask for 1 or more.")
    return suite_of(recorded, recorded.models, spread(recorded.samples)[:limit])


def suite_of(recorded: Recorded, models: Sequence[str], samples: Sequence[Sample]) -> Suite:
    """A suite in which ``models`` answer; a text that several of them gave is worth the mean of its ratings."""
    known: dict[tuple[str, int, str], list[float]] = {}
    for model in models:
        for sample in samples:
            for turn, rated in enumerate(recorded.ratings[model][sample.id]):
                text = recorded.answers[model][sample.id][turn].strip()
                known.setdefault((sample.id, turn, text), []).append(rated)

    def score(sample: Sample, turn: int, text: str) -> float:
        found = known.get((sample.id, turn, text.strip()))
        if not found:
            raise DataError(f"question {sample.id}, turn {turn + 1}: no recorded model said {text[:60]!r}.")
        return sum(found) / len(found)

    return Suite(name="mt-bench", samples=samples, grade=by_rule(score), best=10.0, unit="/10")
