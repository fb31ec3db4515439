"""Makers of questions on text, charts, diagrams and documents. They know the scenes, not how they look."""

import random
from collections import Counter

from aiflow.nano.visual.asking import Draft, choice, short
from aiflow.nano.visual.scenes import NODES, Chart, Diagram, Document, Word


def _node(rng: random.Random, scene: Diagram, question: str, answer: str, asked: str) -> Draft:
    """The answer among the diagram's other letters, filled up with letters that it does not show."""
    others = [n for n in scene.nodes if n not in (answer, asked)]
    absent = rng.sample([n for n in NODES if n not in scene.nodes], 3)
    return choice(rng, question, answer, [*others, *absent][:3])


def points_to(rng: random.Random, scene: Diagram) -> Draft | None:
    """ai2d: where an arrow ends."""
    if not scene.arrows:
        return None
    a, b = (scene.nodes[i] for i in rng.choice(scene.arrows))
    return _node(rng, scene, f"Which box does {a} point to?", b, a)


def points_from(rng: random.Random, scene: Diagram) -> Draft | None:
    """ai2d: where the only arrow to a box starts."""
    into = Counter(b for _, b in scene.arrows)
    single = [(a, b) for a, b in scene.arrows if into[b] == 1]
    if not single:
        return None
    a, b = (scene.nodes[i] for i in rng.choice(single))
    return _node(rng, scene, f"Which box points to {b}?", a, b)


def end(rng: random.Random, scene: Diagram) -> Draft | None:
    """ai2d: the only box without an arrow that leaves it."""
    sources = {a for a, _ in scene.arrows}
    ends = [n for i, n in enumerate(scene.nodes) if i not in sources]
    if len(ends) != 1:
        return None
    return _node(rng, scene, "Which box points to no box?", ends[0], "")


def written(rng: random.Random, scene: Word) -> Draft | None:  # noqa: ARG001 - makers share one signature
    """ocrbench: the word."""
    return short("What is written?", scene.text)


def character(rng: random.Random, scene: Word) -> Draft | None:
    """Training only: the first, second or last character."""
    word, index = rng.choice((("first", 0), ("second", 1), ("last", -1)))
    return short(f"What is the {word} character?", scene.text[index])


def text_colour(rng: random.Random, scene: Word) -> Draft | None:  # noqa: ARG001 - makers share one signature
    """Training only: the colour of the text."""
    return short("What colour is the text?", scene.colour)


def length(rng: random.Random, scene: Word) -> Draft | None:  # noqa: ARG001 - makers share one signature
    """Training only: the number of characters."""
    return short("How many characters are there?", str(len(scene.text)))


def height(rng: random.Random, scene: Chart) -> Draft | None:
    """chartqa: the height of a bar."""
    colour, value = rng.choice(list(zip(scene.colours, scene.heights, strict=True)))
    return short(f"How high is the {colour} bar?", str(value))


def highest(rng: random.Random, scene: Chart) -> Draft | None:
    """chartqa: the colour of the highest or lowest bar, where there is one."""
    word, value = rng.choice((("highest", max(scene.heights)), ("lowest", min(scene.heights))))
    if scene.heights.count(value) != 1:
        return None
    return short(f"Which bar is the {word}?", scene.colours[scene.heights.index(value)])


def bars(rng: random.Random, scene: Chart) -> Draft | None:  # noqa: ARG001 - makers share one signature
    """chartqa: the number of bars."""
    return short("How many bars are there?", str(len(scene.heights)))


def value(rng: random.Random, scene: Document) -> Draft | None:
    """docvqa: the value of a field."""
    letter, number = rng.choice(list(zip(scene.letters, scene.values, strict=True)))
    return short(f"What is the value of {letter}?", number)


def field(rng: random.Random, scene: Document) -> Draft | None:
    """docvqa: the field that has a value."""
    letter, number = rng.choice(list(zip(scene.letters, scene.values, strict=True)))
    return short(f"Which field has {number}?", letter)
