"""What a benchmark is made of: samples, subjects that answer them, a grader. Data only; nothing runs here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

from aiflow.errors import DataError
from aiflow.types import Image, Message, Options


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A question of one or more turns, about ``images`` that stand before the first.

    ``references`` holds the known answers, where there are any; ``data`` what else the grader needs (JSON values).
    ``options``: how its answers are to be generated (None: as the subject does). ``group``: the bootstrap draws the
    samples of one group together, e.g. both questions on an image (empty: the sample is its own).
    """

    id: str
    category: str
    turns: tuple[str, ...]
    references: tuple[str, ...] = ()
    images: tuple[Path | bytes, ...] = field(default=(), repr=False)
    options: Options | None = None
    group: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def pictures(self) -> tuple[Image, ...]:
        """The images, read now. Raises DataError for a file that is missing or no picture."""
        try:
            return tuple(Image(found.read_bytes() if isinstance(found, Path) else found) for found in self.images)
        except (OSError, ValueError) as error:
            raise DataError(f"an image of question {self.id!r} cannot be read: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a subject says to one turn and what that cost.

    ``seconds`` is what the asker waited; ``tokens`` counts what all models involved wrote; ``bytes`` what crossed each
    link. A collaboration also tells who was ``selected``, what each device said first (``answers``) and last
    (``finals``), and its ``steps``.
    """

    text: str
    seconds: float = 0.0
    tokens: int = 0
    bytes: Mapping[str, int] = field(default_factory=dict)
    selected: tuple[str, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    finals: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Mapping[str, Any], ...] = ()


class Subject(Protocol):
    """Whoever is asked: an agent alone, a graph, an agent sampled many times."""

    @property
    def name(self) -> str:
        """Unique in a run."""

    async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
        """Answers the last turn of ``talk``, which is about ``sample``; the sample's options replace its own.

        Raises AiflowError when it cannot.
        """


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """What one judge said of an answer: the words, the ``verdict`` read out of them (empty: none) and its ``score``.

    ``label`` tells several judgments of one answer apart (``game 1``); ``data`` holds what else the judge returned.
    """

    judge: str
    text: str
    verdict: str = ""
    score: float | None = None
    label: str = ""
    tokens: int = 0
    seconds: float = 0.0
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Grade:
    """The score of an answer, 0..``Suite.best``, and the judgments behind it. None: no judge could be understood."""

    score: float | None
    judgments: tuple[Judgment, ...] = ()


class Grader(Protocol):
    """Grades the last of the texts that a subject ``said`` to the turns of a sample so far."""

    async def __call__(self, sample: Sample, said: Sequence[str]) -> Grade:
        """Raises AiflowError where a judge cannot be asked, which ends the run (it can be resumed)."""


Scorer = Callable[[Sample, int, str], float]
"""Scores the text given to turn 0, 1, ... of a sample, in 0..``Suite.best``, without a judge."""


def by_rule(score: Scorer) -> Grader:
    """A grader that needs no judge."""

    async def grade(sample: Sample, said: Sequence[str]) -> Grade:
        return Grade(score=score(sample, len(said) - 1, said[-1]))

    return grade


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A named set of samples and how their answers are graded: 0..``best``, shown with its ``unit``.

    ``summary`` computes the figures that the benchmark publishes from one subject's records, e.g. ``win_rate``, under
    their published names; the first is the headline. ``graded``: whether the answers and finals of a collaboration's
    devices are graded as well, which costs a judged suite a judgment each. ``graders``: a subject's own grader, where
    it has one, as recorded models have.
    """

    name: str
    samples: Sequence[Sample]
    grade: Grader
    best: float = 100.0
    unit: str = "%"
    summary: "Callable[[Sequence[Record]], Mapping[str, Any]] | None" = None
    graded: frozenset[str] = frozenset({"answers", "finals"})
    graders: "Callable[[str], Grader | None] | None" = None

    def grader(self, subject: str) -> Grader:
        """The one that grades what this subject says."""
        return (self.graders(subject) if self.graders else None) or self.grade


def spread(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with the categories in turn, so that the first few are of all kinds."""
    by: dict[str, list[Sample]] = {}
    for sample in samples:
        by.setdefault(sample.category, []).append(sample)
    return [sample for row in zip_longest(*by.values()) for sample in row if sample]


@dataclass(frozen=True)
class Said:
    """A text and its score; None where it was not graded, or no judge could be understood."""

    text: str
    score: float | None


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One graded turn. With an ``error`` the text is empty and the score 0; score None: no judgment could be read.

    ``reused``: how many of the answers in it had been given before, so that ``seconds`` says nothing.
    """

    text: str
    score: float | None
    seconds: float = 0.0
    tokens: int = 0
    bytes: Mapping[str, int] = field(default_factory=dict)
    error: str = ""
    selected: tuple[str, ...] = ()
    answers: Mapping[str, Said] = field(default_factory=dict)
    finals: Mapping[str, Said] = field(default_factory=dict)
    steps: tuple[Mapping[str, Any], ...] = ()
    judgments: tuple[Judgment, ...] = ()
    reused: int = 0


@dataclass(frozen=True, kw_only=True)
class Record:
    """All turns of one sample by one subject."""

    subject: str
    sample: str
    category: str
    turns: tuple[Turn, ...]

    @property
    def score(self) -> float | None:
        """The mean over the turns that have a score; None if none has."""
        known = [turn.score for turn in self.turns if turn.score is not None]
        return sum(known) / len(known) if known else None
