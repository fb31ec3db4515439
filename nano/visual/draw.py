"""Draws scenes as 64x64 pictures and labels every 8x8 patch with what it shows. Knows no questions."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiflow.nano.visual import masks
from aiflow.nano.visual.scenes import (
    BIG,
    CHARACTERS,
    COLOURS,
    NOISES,
    SHAPES,
    SIDE,
    SLOTS,
    UNIT,
    Chart,
    Diagram,
    Document,
    Scene,
    Shapes,
    Word,
)

Pixels = NDArray[np.uint8]

PATCH = 8
KINDS = (*SHAPES, "bar", "box", "arrow", "char")
SIZES = ("small", "big", "text")
DIRECTIONS = ("e", "se", "s", "sw", "w", "nw", "n", "ne")
HEADS = {
    "kind": 1 + len(KINDS),
    "colour": 1 + len(COLOURS),
    "char": 1 + len(CHARACTERS),
    "size": 1 + len(SIZES),
    "value": 10,
    "direction": 1 + len(DIRECTIONS),
}
LEAST = 7
BASELINE = 60

# All values lie in 12..243, so that noise of -12..12 never overflows.
RGB = {
    "red": (215, 35, 35),
    "green": (35, 175, 55),
    "blue": (45, 85, 235),
    "yellow": (238, 222, 45),
    "purple": (172, 70, 225),
    "orange": (240, 130, 20),
    "white": (240, 240, 240),
}
GROUNDS = ((20, 20, 20), (44, 44, 50), (62, 62, 62), (18, 26, 44))
LINE = (130, 130, 130)


class Layer(NamedTuple):
    """A mask with the place of its top left corner, its colour and its label row (in the order of ``HEADS``)."""

    mask: masks.Mask
    x: int
    y: int
    rgb: tuple[int, int, int]
    label: tuple[int, ...]


def _label(kind: str, colour: str, **others: int) -> tuple[int, ...]:
    known = {"kind": 1 + KINDS.index(kind), "colour": 1 + COLOURS.index(colour), **others}
    return tuple(known.get(head, 0) for head in HEADS)


def _text(text: str, x: int, y: int, scale: int, colour: str) -> Iterator[Layer]:
    for i, c in enumerate(text):
        if c != " ":
            label = _label("char", colour, char=1 + CHARACTERS.index(c), size=3)
            yield Layer(masks.glyph(c, scale), x + i * 6 * scale, y, RGB[colour], label)


def _shapes(scene: Shapes) -> Iterator[Layer]:
    for t in scene.things:
        label = _label(t.kind, t.colour, size=2 if t.size == BIG else 1)
        yield Layer(masks.shape(t.kind, t.size), t.x, t.y, RGB[t.colour], label)


def _word(scene: Word) -> Iterator[Layer]:
    return _text(scene.text, scene.x, scene.y, scene.scale, scene.colour)


@cache
def _block(height: int, width: int) -> masks.Mask:
    return np.ones((height, width), bool)


def _chart(scene: Chart) -> Iterator[Layer]:
    width = scene.step - 3
    yield Layer(_block(1, scene.step * len(scene.heights)), scene.x - 1, BASELINE, LINE, (0,) * len(HEADS))
    for i, (colour, height) in enumerate(zip(scene.colours, scene.heights, strict=True)):
        mask = _block(height * UNIT, width)
        place = scene.x + i * scene.step, BASELINE - height * UNIT
        yield Layer(mask, *place, RGB[colour], _label("bar", colour, value=height))


def direction(source: int, target: int) -> str:
    """The compass direction of an arrow between two slots."""
    (a, b), (c, d) = SLOTS[source], SLOTS[target]
    return ("n" if d < b else "s" if d > b else "") + ("w" if c < a else "e" if c > a else "")


def _diagram(scene: Diagram) -> Iterator[Layer]:
    for a, b in scene.arrows:
        ends = scene.slots[a], scene.slots[b]
        label = _label("arrow", "white", direction=1 + DIRECTIONS.index(direction(*ends)))
        yield Layer(masks.arrow(*ends), scene.x, scene.y, RGB["white"], label)
    for node, slot in zip(scene.nodes, scene.slots, strict=True):
        x, y = SLOTS[slot][0] + scene.x - masks.BOX // 2, SLOTS[slot][1] + scene.y - masks.BOX // 2
        yield Layer(masks.box(), x, y, RGB[scene.colour], _label("box", scene.colour))
        yield from _text(node, x + 5, y + 3, 2, "white")


def _document(scene: Document) -> Iterator[Layer]:
    for i, (letter, value) in enumerate(zip(scene.letters, scene.values, strict=True)):
        yield from _text(f"{letter} {value}", scene.x, scene.y + 20 * i, 2, scene.colour)


LAYERS: dict[type[Any], Callable[[Any], Iterator[Layer]]] = {
    Shapes: _shapes,
    Word: _word,
    Chart: _chart,
    Diagram: _diagram,
    Document: _document,
}


@cache
def _noises() -> Pixels:
    noise = np.random.default_rng(0).integers(-12, 13, (NOISES, SIDE, SIDE, 3))
    return noise.astype(np.int8).view(np.uint8)


@cache
def _patches() -> NDArray[np.int64]:
    y, x = np.mgrid[:SIDE, :SIDE] // PATCH
    return np.asarray(y * (SIDE // PATCH) + x)


def _owners(layers: list[Layer]) -> Pixels:
    """Which layer each pixel shows (0: the background)."""
    owners = np.zeros((SIDE, SIDE), np.uint8)
    for number, layer in enumerate(layers, 1):
        top, left = max(layer.y, 0), max(layer.x, 0)
        part = owners[top : layer.y + layer.mask.shape[0], left : layer.x + layer.mask.shape[1]]
        mask = layer.mask[top - layer.y :, left - layer.x :][: part.shape[0], : part.shape[1]]
        part[mask] = number
    return owners


def _pixels(scene: Scene, layers: list[Layer], owners: Pixels) -> Pixels:
    table = np.array([GROUNDS[scene.background], *(layer.rgb for layer in layers)], np.uint8)
    # Unsigned addition wraps around, which is subtraction for the noise's negative values.
    return np.asarray(table[owners] + _noises()[scene.noise])


def _marks(layers: list[Layer], owners: Pixels) -> Pixels:
    kinds = len(layers) + 1
    counts = np.bincount((_patches() * kinds + owners).ravel(), minlength=64 * kinds).reshape(64, kinds)[:, 1:]
    most = counts.argmax(1)
    seen = counts[np.arange(64), most] >= LEAST
    table = np.array([(0,) * len(HEADS), *(layer.label for layer in layers)], np.uint8)
    return np.asarray(table[(most + 1) * seen])


def render(scene: Scene) -> Pixels:
    """The picture: (64, 64, 3), 0..255."""
    return both(scene)[0]


def labels(scene: Scene) -> Pixels:
    """Per patch (row by row) the class of every head: (64, len(HEADS)); 0 means nothing.

    A patch belongs to the object with most of its pixels, if these are at least ``LEAST`` of its 64.
    """
    return both(scene)[1]


def both(scene: Scene) -> tuple[Pixels, Pixels]:
    """Picture and labels, drawn once."""
    layers = list(LAYERS[type(scene)](scene))
    owners = _owners(layers)
    return _pixels(scene, layers, owners), _marks(layers, owners)
