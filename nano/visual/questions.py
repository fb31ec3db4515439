"""Nine forms of questions on scenes, in the manner of nine benchmarks. Knows nothing of pictures and of models.

A category's maker draws one question for a given scene, or None where the scene does not allow it. Every right answer
has a *content* (a colour, a number, ..) besides its letter; a suite that balances contents leaves nothing to guess.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from aiflow.nano.visual import reading, seeing
from aiflow.nano.visual.asking import Draft
from aiflow.nano.visual.scenes import COLOURS, LETTERS, SHAPES, Scene

Form = Literal["mme", "seed", "mmbench", "mmstar", "realworldqa", "ai2d", "ocrbench", "chartqa", "docvqa"]

GENERAL: tuple[Form, ...] = ("mme", "seed", "mmbench", "mmstar", "realworldqa", "ai2d")
INFORMATION: tuple[Form, ...] = ("ocrbench", "chartqa", "docvqa")
FORMS = GENERAL + INFORMATION


@dataclass(frozen=True, kw_only=True)
class Question:
    """A prompt with its right answer: yes or no, an option's letter, or a word.

    ``seen`` is what of the picture decides a yes or no, or the right option's text; ``options`` are all options' texts.
    """

    form: Form
    category: str
    prompt: str
    answer: str
    seen: str = ""
    options: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """A right answer as training gives it: an option's text, what is seen and then yes or no, or a word."""
        if self.options:
            return self.seen
        return f"{self.seen}: {self.answer}" if self.seen else self.answer


class Category(NamedTuple):
    """How to draw questions; ``contents`` are what a suite balances, ``blind`` is a guesser's expected score."""

    make: Callable[[random.Random, Any], Draft | None]
    contents: tuple[str, ...]
    blind: float


def _numbers(first: int, last: int) -> tuple[str, ...]:
    return tuple(str(n) for n in range(first, last + 1))


CATEGORIES: dict[Form, dict[str, Category]] = {
    "mme": {
        "existence": Category(seeing.existence, SHAPES, 1 / 2),
        "count": Category(seeing.count_pair, _numbers(2, 4), 1 / 2),
        "colour": Category(seeing.colour_pair, COLOURS, 1 / 2),
        "position": Category(seeing.position_pair, seeing.SIDES, 1 / 2),
    },
    "seed": {
        "identity": Category(seeing.identity, SHAPES, 1 / 4),
        "attribute": Category(seeing.colour_of, COLOURS, 1 / 4),
        "count": Category(seeing.count_all, _numbers(1, 5), 1 / 4),
        "location": Category(seeing.location, seeing.QUARTERS, 1 / 4),
        "relation": Category(seeing.relation, seeing.WHERE, 1 / 4),
    },
    "mmbench": {
        "attribute": Category(seeing.shape_of, SHAPES, 1 / 4),
        "size": Category(seeing.sizes, seeing.COMPARISONS, 1 / 3),
        "relation": Category(seeing.which_side, seeing.SIDES, 1 / 3),
    },
    "mmstar": {
        "count": Category(seeing.count_colour, _numbers(0, 3), 1 / 4),
        "odd": Category(seeing.odd, SHAPES, 1 / 4),
        "extreme": Category(seeing.extreme, SHAPES, 1 / 4),
    },
    "realworldqa": {
        "bigger": Category(seeing.bigger, SHAPES, 1 / 2),
        "place": Category(seeing.lower, SHAPES, 1 / 2),
        "count": Category(seeing.how_many, _numbers(1, 5), 1 / 5),
    },
    "ai2d": {
        "to": Category(reading.points_to, (), 1 / 4),
        "from": Category(reading.points_from, (), 1 / 4),
        "end": Category(reading.end, (), 1 / 4),
    },
    "ocrbench": {"text": Category(reading.written, (), 0.0)},
    "chartqa": {
        "value": Category(reading.height, _numbers(1, 9), 1 / 9),
        "extreme": Category(reading.highest, COLOURS, 1 / 7),
        "count": Category(reading.bars, _numbers(3, 5), 1 / 3),
    },
    # A guessed value shares one of two digits (8 in use) with probability 14/64, which ANLS scores 1/2.
    "docvqa": {
        "value": Category(reading.value, (), 1 / 64 + 7 / 64),
        "field": Category(reading.field, tuple(LETTERS), 1 / 24),
    },
}
# What training asks besides, so that one picture of a word gives several answers.
EXTRA: dict[Form, dict[str, Category]] = {
    "ocrbench": {
        "character": Category(reading.character, (), 1 / 32),
        "colour": Category(reading.text_colour, COLOURS, 1 / 7),
        "length": Category(reading.length, _numbers(2, 4), 1 / 3),
    }
}
SCENE: dict[Form, str] = dict.fromkeys(GENERAL, "shapes") | {
    "ai2d": "diagram",
    "ocrbench": "word",
    "chartqa": "chart",
    "docvqa": "document",
}


def forms(kind: str) -> tuple[Form, ...]:
    """The forms that ask about a kind of scene."""
    return tuple(f for f in FORMS if SCENE[f] == kind)


def draw(rng: random.Random, form: Form, category: str, scene: Scene) -> tuple[str, tuple[Question, ...]] | None:
    """Content of the right answer and the questions (two of opposite answers for mme, else one), or None."""
    draft = (CATEGORIES[form] | EXTRA.get(form, {}))[category].make(rng, scene)
    if draft is None:
        return None
    made = tuple(
        Question(form=form, category=category, prompt=a.prompt, answer=a.answer, seen=a.seen, options=draft.options)
        for a in draft.asked
    )
    return draft.content, made


def chance(form: Form) -> float:
    """Expected score (0..1) of an answer that does not depend on the picture: the mean over categories."""
    blind: Sequence[float] = [c.blind for c in CATEGORIES[form].values()]
    return sum(blind) / len(blind)
