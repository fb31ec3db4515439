"""Grades recorded answers by what was recorded of them. Knows no suite's files.

Two models may have given the same answer and been graded differently, so a model's own grades are looked up for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiflow.bench.suite import Grade, Grader, Sample
from aiflow.errors import DataError

Graded = tuple[str, Grade]
"""A recorded text, and its grade."""
Key = tuple[str, int]
"""Sample id, turn from 1."""


@dataclass(frozen=True)
class Replayed:
    """``known``: model -> key -> text and grade. A text that several models gave is worth the mean of its scores.

    ``who``: the one model that is asked about; None: all.
    """

    known: Mapping[str, Mapping[Key, Graded]] = field(repr=False)
    who: str | None = None

    async def __call__(self, sample: Sample, said: Sequence[str]) -> Grade:
        """Raises DataError for a text that was not recorded."""
        key, models = (sample.id, len(said)), self.known if self.who is None else (self.who,)
        rows = (self.known[model].get(key) for model in models)
        found = [row[1] for row in rows if row and row[0] == said[-1]]
        if not found:
            who = f"{self.who} did not give" if self.who else "no recorded model gave"
            raise DataError(f"{who} this answer to question {sample.id}, turn {len(said)}; name a judge with --judge.")
        scores = [grade.score for grade in found if grade.score is not None]
        told = tuple(judgment for grade in found for judgment in grade.judgments)
        return Grade(score=sum(scores) / len(scores) if scores else None, judgments=told)

    def of(self, model: str) -> Grader | None:
        """The grader of one model's answers; None of one that was not recorded."""
        return Replayed(self.known, model) if model in self.known else None
