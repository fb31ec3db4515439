"""Held-out suites for the nine forms and their scoring rules. Knows no models: it scores texts.

A suite's scenes never occur in training, its categories alternate, and within a category the contents of the right
answers take turns in random order, so that an answer that ignores the picture is right by chance only.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aiflow.errors import InputError
from aiflow.nano.visual import draw, questions, scoring
from aiflow.nano.visual.questions import Form, Question
from aiflow.nano.visual.scenes import Scene, scene

SEED = 7


@dataclass(frozen=True, kw_only=True)
class Item:
    """A question on a scene; mme's come in pairs of opposite answers on one scene, ids ending in ``a`` and ``b``."""

    id: str
    form: Form
    category: str
    scene: Scene
    prompt: str
    answer: str
    options: tuple[str, ...]

    @property
    def image(self) -> NDArray[np.uint8]:
        """The picture: (64, 64, 3), 0..255."""
        return draw.render(self.scene)


def _balanced(rng: random.Random, form: Form, category: str) -> Iterator[tuple[Scene, tuple[Question, ...]]]:
    """Endless questions of a category whose right answers take turns; of a pair, either question comes first."""
    contents: tuple[str | None, ...] = questions.CATEGORIES[form][category].contents or (None,)
    seen: set[tuple[Scene, str]] = set()
    while True:
        for content in rng.sample(contents, len(contents)):
            while True:
                shown = scene(rng, questions.SCENE[form], "suite")
                drawn = questions.draw(rng, form, category, shown)
                if drawn is None or content not in (None, drawn[0]):
                    continue
                key = (shown, drawn[1][0].prompt)
                if key not in seen:
                    break
            seen.add(key)
            yield shown, tuple(rng.sample(drawn[1], len(drawn[1])))


def suite(form: Form, n: int, seed: int = SEED) -> list[Item]:
    """The first ``n`` questions of a form; a longer suite extends a shorter one.

    Raises:
        InputError: for a form that is not one of ``questions.FORMS``, or a negative ``n``.
    """
    if form not in questions.FORMS:
        raise InputError(f"there is no suite {form!r}; take one of {', '.join(questions.FORMS)}")
    if n < 0:
        raise InputError(f"a suite has 0 or more questions, not {n}; ask for a count of at least 0")
    names = list(questions.CATEGORIES[form])
    streams = {c: _balanced(random.Random(f"{seed} {form} {c}"), form, c) for c in names}
    items: list[Item] = []
    number = 0
    while len(items) < n:
        shown, asked = next(streams[names[number % len(names)]])
        number += 1
        for letter, q in zip("ab" if len(asked) > 1 else ("",), asked, strict=True):
            make = partial(Item, form=form, category=q.category, scene=shown, prompt=q.prompt)
            items.append(make(id=f"{form}-{number}{letter}", answer=q.answer, options=q.options))
    return items[:n]


def parsed(item: Item, answer: str) -> bool:
    """Whether an answer has the form that the question asks for (a free text only must not be empty)."""
    return scoring.read(item.form, item.options, answer) is not None


def mark(item: Item, answer: str) -> float:
    """The item's own score of an answer, 0..1; only docvqa's ANLS has values between."""
    return scoring.mark(item.form, item.options, item.answer, answer)


def right(item: Item, answer: str) -> bool:
    """Whether an answer is right; for docvqa, whether it is exactly the reference (ANLS 1)."""
    return mark(item, answer) == 1.0


def score(items: Sequence[Item], answers: Sequence[str]) -> dict[str, float]:
    """The form's score of a model's answers.

    Returns:
        ``score`` (mean mark, 0..1), ``chance`` (of the form, 0..1), ``items`` and ``unparsed`` (counts; an answer that
        cannot be read is wrong, never a class of its own), and for mme ``acc_plus``, the share of complete pairs
        with both answers right.

    Raises:
        InputError: if the lengths differ, there are no items, or items of several forms.
    """
    if len(items) != len(answers) or not items:
        raise InputError(f"{len(answers)} answers to {len(items)} items; give one answer for each of one or more items")
    if len({i.form for i in items}) > 1:
        raise InputError(f"items of {len({i.form for i in items})} forms; score each form by itself")
    marks = [mark(i, a) for i, a in zip(items, answers, strict=True)]
    result = {
        "score": sum(marks) / len(marks),
        "chance": questions.chance(items[0].form),
        "items": float(len(items)),
        "unparsed": float(sum(not parsed(i, a) for i, a in zip(items, answers, strict=True))),
    }
    if items[0].form == "mme":
        pairs: dict[str, list[float]] = {}
        for item, m in zip(items, marks, strict=True):
            pairs.setdefault(item.id[:-1], []).append(m)
        whole = [p for p in pairs.values() if len(p) == 2]
        result["acc_plus"] = sum(min(p) for p in whole) / len(whole) if whole else 0.0
    return result
