"""The questions of the contest: seeded sizes, wishes and arrivals, and what turns out otherwise than expected."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from aiflow.bench.plan.world import AGENTS, LINKS
from aiflow.collaboration.planning.task import Task

EVERY = 8.0
"""Seconds between arrivals, on average."""
NOISE = 0.1
"""Standard deviation of the logarithm of what links and nodes take beside what the trace says."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A task with what only the world knows of it.

    Attributes:
        at: arrival, seconds.
        task: as planned with: the expected length.
        tokens: that the answer has.
        noise: factors of computing by agent, and of a link's slowness by link: the same for every way to answer.
        agreement: by how much the drafts of this question stand more or less often than usual.
    """

    at: float
    task: Task
    tokens: int
    noise: Mapping[str, float]
    agreement: float

    @property
    def true(self) -> Task:
        """The task with the length that the answer has."""
        return replace(self.task, output_tokens=self.tokens)


def make(seed: int, count: int) -> list[Request]:
    """``count`` questions: three in ten show a picture, half may be answered by any model.

    Of those in words 3 in 10 want the top model's exact text and 2 in 10 a quality from 0.6 on; of those on pictures,
    half want that.
    """
    rng, now, found = np.random.default_rng([seed, 88]), 0.0, []
    for _ in range(count):
        now += float(rng.exponential(EVERY))
        expected = _size(rng, 100, 0.6, 20, 400)
        image = (_size(rng, 300_000, 0.8, 50_000, 2_000_000),) if rng.random() < 0.3 else ()
        luck = rng.random()
        exact = not image and luck < 0.3
        task = Task(
            prompt_tokens=_size(rng, 150, 0.9, 20, 1500),
            output_tokens=expected,
            image_bytes=image,
            quality="fast" if exact or luck >= 0.5 else 0.6,
            exact=exact,
        )
        noise = {name: float(math.exp(rng.normal(0, NOISE))) for name in (*AGENTS, *LINKS)}
        length = max(8, round(expected * math.exp(rng.normal(0, 0.25))))
        found.append(Request(at=now, task=task, tokens=length, noise=noise, agreement=float(rng.normal(0, 0.07))))
    return found


def _size(rng: np.random.Generator, median: float, spread: float, low: int, high: int) -> int:
    return int(np.clip(median * math.exp(rng.normal(0, spread)), low, high))
