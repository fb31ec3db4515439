"""Rate against score: rising curves through measured points, bytes at equal score, Bjontegaard's rate. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SAMPLES = 101


@dataclass(frozen=True, kw_only=True)
class Point:
    """A setting of one system: its name, mean bytes of an image, mean score (0..1)."""

    name: str
    nbytes: float
    score: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The best score for at most so many bytes: logarithms of bytes, and scores, both strictly rising."""

    log_bytes: Floats
    scores: Floats

    def bytes_at(self, score: Floats) -> Floats:
        """Bytes for a score, interpolated in logarithms; infinite above the best score, the least bytes below."""
        found = np.exp(np.interp(score, self.scores, self.log_bytes))
        return np.where(score > self.scores[-1], np.inf, found)


def frontier(points: Sequence[Point]) -> Curve:
    """The points that no other beats in bytes and score at once."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.nbytes, -p.score)):
        if not kept or point.score > kept[-1].score:
            kept.append(point)
    return Curve(log_bytes=np.log([p.nbytes for p in kept]), scores=np.array([p.score for p in kept]))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One system's bytes over another's at equal scores.

    Attributes:
        low: the lowest score compared: both systems have it.
        high: the highest.
        ratio: geometric mean over the scores between (Bjontegaard's delta rate plus 1).
        worst: the largest ratio at any of the scores.
        best: the smallest.
        at_high: at the highest score.
    """

    low: float
    high: float
    ratio: float
    worst: float
    best: float
    at_high: float


def compare(ours: Curve, other: Curve) -> Comparison | None:
    """``ours`` beside ``other`` over the scores that both reach; None where there are none."""
    low, high = max(ours.scores[0], other.scores[0]), min(ours.scores[-1], other.scores[-1])
    if low > high:
        return None
    score = np.linspace(low, high, SAMPLES)
    ratio = ours.bytes_at(score) / other.bytes_at(score)
    return Comparison(
        low=float(low),
        high=float(high),
        ratio=float(np.exp(np.log(ratio).mean())),
        worst=float(ratio.max()),
        best=float(ratio.min()),
        at_high=float(ratio[-1]),
    )
