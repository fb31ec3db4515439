"""Boolean pixel masks of shapes, characters, boxes and arrows, made once. Knows no colours and no scenes."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from aiflow.nano.visual.scenes import SLOTS

Mask = NDArray[np.bool_]

BOX = 20
# Five columns of seven pixels, the lowest bit on top.
FONT = {
    "A": "7c1211127c",
    "B": "7f49494936",
    "C": "3e41414122",
    "D": "7f4141413e",
    "E": "7f49494941",
    "F": "7f09090901",
    "G": "3e41415173",
    "H": "7f0808087f",
    "J": "2040413f01",
    "K": "7f08142241",
    "L": "7f40404040",
    "M": "7f021c027f",
    "N": "7f0408107f",
    "P": "7f09090906",
    "Q": "3e4151215e",
    "R": "7f09192946",
    "S": "2649494932",
    "T": "01017f0101",
    "U": "3f4040403f",
    "V": "1f2040201f",
    "W": "3f4038403f",
    "X": "6314081463",
    "Y": "0304780403",
    "Z": "6151494543",
    "2": "7249494946",
    "3": "2141454b31",
    "4": "1814127f10",
    "5": "2745454539",
    "6": "3c4a494931",
    "7": "4121110907",
    "8": "3649494936",
    "9": "464949291e",
}


@cache
def glyph(character: str, scale: int) -> Mask:
    """A character of the 5x7 font, enlarged: (7 * scale, 5 * scale)."""
    columns = np.frombuffer(bytes.fromhex(FONT[character]), np.uint8)
    bits = (columns[None, :] >> np.arange(7, dtype=np.uint8)[:, None]) & 1
    return np.kron(bits, np.ones((scale, scale), np.uint8)).astype(bool)


@cache
def shape(kind: str, size: int) -> Mask:
    """A filled shape in a square of ``size`` pixels."""
    y, x = np.mgrid[:size, :size]
    half = (size - 1) / 2
    u, v = (x - half) / (half + 0.5), (y - half) / (half + 0.5)
    if kind == "circle":
        return np.asarray(u**2 + v**2 <= 1)
    if kind == "square":
        return np.ones((size, size), bool)
    if kind == "triangle":
        return np.asarray(np.abs(u) <= (y + 1) / size)
    if kind == "cross":
        return np.asarray((np.abs(u) <= 0.34) | (np.abs(v) <= 0.34))
    angle = np.arctan2(u, -(v - 0.06)) % (2 * np.pi / 5)
    angle = np.minimum(angle, 2 * np.pi / 5 - angle)
    radius = np.hypot(u, v - 0.06)
    # The edge of a five-pointed star from its tip (radius 1) to its notch (radius 0.42).
    tip, notch = np.array([1.06, 0.0]), 0.45 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    normal = np.array([notch[1] - tip[1], tip[0] - notch[0]])
    return np.asarray(radius * (np.cos(angle) * normal[0] + np.sin(angle) * normal[1]) <= tip @ normal)


@cache
def box() -> Mask:
    """The outline of a node's box: (BOX, BOX)."""
    mask = np.ones((BOX, BOX), bool)
    mask[1:-1, 1:-1] = False
    return mask


@cache
def arrow(source: int, target: int) -> Mask:
    """The arrow from the box at one slot to the box at another, on the whole picture (64, 64)."""
    start, end = np.array(SLOTS[source], float), np.array(SLOTS[target], float)
    way = (end - start) / np.abs(end - start).max()
    start, end = start + way * (BOX / 2 + 1.5), end - way * (BOX / 2 + 1.5)
    along = (end - start) / np.hypot(*(end - start))
    y, x = np.mgrid[:64, :64]
    forward = (x + 0.5 - start[0]) * along[0] + (y + 0.5 - start[1]) * along[1]
    aside = np.abs((x + 0.5 - start[0]) * along[1] - (y + 0.5 - start[1]) * along[0])
    rest = float(np.hypot(*(end - start))) - forward
    line = (aside <= 1.1) & (forward >= 0) & (rest >= 3)
    head = (rest >= 0) & (rest <= 9) & (aside <= rest * 0.7)
    return np.asarray(line | head)
