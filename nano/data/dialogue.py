"""What all data modules share: dialogues, two-turn items and the split between training and the held-out suite.

An *instance* is the content of a question (its numbers, words or program), a *wording* the sentence around it. Both are
partitioned by a hash, so that what the suite asks never occurs in a training stream. No module here knows a model.
"""

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Split = Literal["train", "suite"]

OPENINGS = ("", "Please tell me: ", "Quick question: ", "I wonder: ", "Answer this: ", "Help me: ")


class Turn(NamedTuple):
    """One message; ``learn`` marks the assistant texts that are training targets."""

    role: str
    text: str
    learn: bool = False


Dialogue = tuple[Turn, ...]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two questions in a row with their reference answers; ``second`` names the domain of the second question."""

    category: str
    turns: tuple[str, str]
    answers: tuple[str, str]


def held_out(instance: str, parts: int = 8) -> bool:
    """True for the share ``1 / parts`` of instances that only the suite may use."""
    return zlib.crc32(instance.encode()) % parts == 0


def fits(instance: str, split: Split, parts: int = 8) -> bool:
    """True if an instance belongs to ``split``."""
    return held_out(instance, parts) == (split == "suite")


def phrase(rng: random.Random, split: Split, wordings: Sequence[str]) -> str:
    """Draws opening + wording; one combination in four is reserved for the suite."""
    options = [(o, w) for w in wordings for o in OPENINGS if fits(o + w, split, 4)]
    plain = [(o, w) for o, w in options if not o]
    opening, wording = rng.choice(plain if plain and rng.random() < 0.5 else options)
    return opening + wording


def ask(question: str, answer: str) -> Dialogue:
    """One question with its answer as the target."""
    return Turn("user", question), Turn("assistant", answer, True)


def both(pair: Pair) -> Dialogue:
    """A two-turn dialogue; both answers are targets."""
    return ask(pair.turns[0], pair.answers[0]) + ask(pair.turns[1], pair.answers[1])
