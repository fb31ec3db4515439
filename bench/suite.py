"""What a benchmark is made of: samples, subjects that answer them, a scorer. Data only; nothing runs here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiflow.types import Message


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A question of one or more turns. ``references`` holds the known answers, where there are any."""

    id: str
    category: str
    turns: tuple[str, ...]
    references: tuple[str, ...] = ()


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

    async def reply(self, talk: Sequence[Message]) -> Reply:
        """Answers the last turn of ``talk``. Raises AiflowError when it cannot."""


Scorer = Callable[[Sample, int, str], float]
"""Scores the text given to turn 0, 1, ... of a sample, in 0..``Suite.best``."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A named set of samples and how their answers are scored: 0..``best``, shown with its ``unit``."""

    name: str
    samples: Sequence[Sample]
    score: Scorer
    best: float = 100.0
    unit: str = "%"


@dataclass(frozen=True)
class Said:
    """A text and its score."""

    text: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One scored turn. With an ``error`` the text is empty and the score 0."""

    text: str
    score: float
    seconds: float = 0.0
    tokens: int = 0
    bytes: Mapping[str, int] = field(default_factory=dict)
    error: str = ""
    selected: tuple[str, ...] = ()
    answers: Mapping[str, Said] = field(default_factory=dict)
    finals: Mapping[str, Said] = field(default_factory=dict)
    steps: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """All turns of one sample by one subject."""

    subject: str
    sample: str
    category: str
    turns: tuple[Turn, ...]

    @property
    def score(self) -> float:
        """The mean over turns."""
        return sum(t.score for t in self.turns) / len(self.turns)
