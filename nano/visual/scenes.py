"""Five kinds of 64x64 scenes and their seeded random generation. Does not know how they are drawn or asked about.

A scene's ``instance`` (what it shows, without places and noise) decides whether it belongs to training or to the suite.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from aiflow.nano.data.dialogue import Split, fits

SIDE = 64
SHAPES = ("circle", "square", "triangle", "cross", "star")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white")
DIGITS = "23456789"
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
CHARACTERS = LETTERS + DIGITS
NODES = "KLMNPQRSTUVWXYZ"
SMALL, BIG = 9, 18
UNIT = 6
BACKGROUNDS = 4
NOISES = 64
SLOTS = ((12, 12), (52, 12), (12, 52), (52, 52))
DIAGONALS = (frozenset((0, 3)), frozenset((1, 2)))


@dataclass(frozen=True, kw_only=True)
class Base:
    """Background (0..3) and noise field (0..63) of a scene."""

    background: int
    noise: int


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A shape; ``x`` and ``y`` are the pixel of its top left corner, ``size`` its side in pixels."""

    kind: str
    colour: str
    size: int
    x: int
    y: int

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.size / 2, self.y + self.size / 2


@dataclass(frozen=True, kw_only=True)
class Shapes(Base):
    """One to five shapes that do not overlap."""

    things: tuple[Thing, ...]

    @property
    def instance(self) -> str:
        return "shapes " + ",".join(sorted(f"{t.kind} {t.colour} {t.size}" for t in self.things))


@dataclass(frozen=True, kw_only=True)
class Word(Base):
    """Two to four characters in one colour; ``scale`` enlarges the font, ``x`` and ``y`` place it."""

    text: str
    colour: str
    scale: int
    x: int
    y: int

    @property
    def instance(self) -> str:
        return f"word {self.text}"


@dataclass(frozen=True, kw_only=True)
class Chart(Base):
    """Three to five bars of distinct colours and heights 1..9; ``x`` is the left edge, ``step`` the bars' distance."""

    colours: tuple[str, ...]
    heights: tuple[int, ...]
    x: int
    step: int

    @property
    def instance(self) -> str:
        return "chart " + ",".join(f"{c} {h}" for c, h in zip(self.colours, self.heights, strict=True))


@dataclass(frozen=True, kw_only=True)
class Diagram(Base):
    """Boxes with letters at some of four places, and arrows (indices of nodes); ``x`` and ``y`` shift everything."""

    nodes: tuple[str, ...]
    slots: tuple[int, ...]
    arrows: tuple[tuple[int, int], ...]
    colour: str
    x: int
    y: int

    @property
    def instance(self) -> str:
        return (
            "diagram "
            + ",".join(sorted(self.nodes))
            + " "
            + ",".join(sorted(self.nodes[a] + self.nodes[b] for a, b in self.arrows))
        )


@dataclass(frozen=True, kw_only=True)
class Document(Base):
    """Two or three lines ``letter value``; no letter and no value occurs twice."""

    letters: tuple[str, ...]
    values: tuple[str, ...]
    colour: str
    x: int
    y: int

    @property
    def instance(self) -> str:
        return "document " + ",".join(f"{n} {v}" for n, v in zip(self.letters, self.values, strict=True))


Scene = Shapes | Word | Chart | Diagram | Document


def _base(rng: random.Random) -> dict[str, int]:
    return {"background": rng.randrange(BACKGROUNDS), "noise": rng.randrange(NOISES)}


def _place(rng: random.Random, sizes: list[int]) -> list[tuple[int, int]] | None:
    """Corners at which squares of these sizes do not touch, or None after too many misses."""
    places: list[tuple[int, int, int]] = []
    for size in sizes:
        for _ in range(12):
            x, y = rng.randint(1, SIDE - 1 - size), rng.randint(1, SIDE - 1 - size)
            if all(x + size + 2 <= a or a + s + 2 <= x or y + size + 2 <= b or b + s + 2 <= y for a, b, s in places):
                places.append((x, y, size))
                break
        else:
            return None
    return [(x, y) for x, y, _ in places]


def _looks(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Kinds and colours: all different, from small palettes, or one colour but for one thing."""
    mode = rng.random()
    kinds = rng.sample(SHAPES, count) if mode < 0.5 else rng.choices(rng.sample(SHAPES, rng.randint(1, 3)), k=count)
    if mode < 0.2 or 0.5 <= mode < 0.6:
        colours = rng.sample(COLOURS, count)
    elif rng.random() < 0.3 and count > 2:
        common, odd = rng.sample(COLOURS, 2)
        colours = [odd] + [common] * (count - 1)
    else:
        colours = rng.choices(rng.sample(COLOURS, rng.randint(2, 4)), k=count)
    return list(zip(kinds, colours, strict=True))


def shapes(rng: random.Random) -> Shapes:
    """A random shapes scene of either split."""
    count = rng.randint(1, 5)
    while True:
        sizes = sorted(rng.choices((SMALL, BIG), k=count), reverse=True)
        places = _place(rng, sizes)
        if places is not None:
            break
    looks = _looks(rng, count)
    rng.shuffle(looks)
    things = tuple(
        Thing(kind=k, colour=c, size=s, x=x, y=y) for (k, c), s, (x, y) in zip(looks, sizes, places, strict=True)
    )
    return Shapes(things=things, **_base(rng))


def word(rng: random.Random) -> Word:
    """A random word of either split."""
    count = rng.randint(2, 4)
    scale = 3 if count < 4 and rng.random() < 0.4 else 2
    text = "".join(rng.choices(CHARACTERS, k=count))
    x, y = rng.randint(1, SIDE - 1 - count * 6 * scale), rng.randint(1, SIDE - 1 - 7 * scale)
    return Word(text=text, colour=rng.choice(COLOURS), scale=scale, x=x, y=y, **_base(rng))


def chart(rng: random.Random) -> Chart:
    """A random bar chart of either split."""
    count = rng.randint(3, 5)
    step = rng.randint(12, min(16, 60 // count))
    colours, heights = tuple(rng.sample(COLOURS, count)), tuple(rng.randint(1, 9) for _ in range(count))
    return Chart(colours=colours, heights=heights, x=rng.randint(2, 64 - count * step), step=step, **_base(rng))


def diagram(rng: random.Random) -> Diagram:
    """A random diagram of either split: at most one arrow out of a node, none in both directions, none crossing."""
    count = rng.randint(3, 4)
    slots = tuple(rng.sample(range(4), count))
    pairs: set[frozenset[int]] = set()
    arrows: list[tuple[int, int]] = []
    sources = rng.sample(range(count), rng.randint(2, count))
    for source in sources:
        target = rng.choice([n for n in range(count) if n != source])
        pair = frozenset((slots[source], slots[target]))
        crossing = pair in DIAGONALS and any(d in pairs for d in DIAGONALS)
        if pair not in pairs and not crossing:
            pairs.add(pair)
            arrows.append((source, target))
    return Diagram(
        nodes=tuple(rng.sample(NODES, count)),
        slots=slots,
        arrows=tuple(sorted(arrows)),
        colour=rng.choice(COLOURS),
        x=rng.randint(-2, 2),
        y=rng.randint(-2, 2),
        **_base(rng),
    )


def document(rng: random.Random) -> Document:
    """A random form of either split."""
    count = rng.randint(2, 3)
    values = rng.sample([a + b for a in DIGITS for b in DIGITS], count)
    return Document(
        letters=tuple(rng.sample(LETTERS, count)),
        values=tuple(values),
        colour=rng.choice(COLOURS),
        x=rng.randint(1, 10),
        y=rng.randint(1, 62 - 20 * count),
        **_base(rng),
    )


MAKERS: dict[str, Callable[[random.Random], Scene]] = {
    "shapes": shapes,
    "word": word,
    "chart": chart,
    "diagram": diagram,
    "document": document,
}


def scene(rng: random.Random, kind: str, split: Split) -> Scene:
    """A random scene of a kind (a key of ``MAKERS``) whose instance belongs to ``split``."""
    while True:
        made = MAKERS[kind](rng)
        if fits(made.instance, split):
            return made
