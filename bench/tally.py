"""Counts what the agents of one turn answered, however deep in a graph they were asked."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from aiflow.types import Answer


@dataclass
class Tally:
    """``reused`` answers came from an earlier request, so that the turn's seconds say nothing."""

    reused: int = 0
    tokens: int = 0
    bytes: Counter[str] = field(default_factory=Counter)


_CURRENT: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def counting() -> Iterator[Tally]:
    """Counts what is asked by the block and by the tasks that it starts."""
    tally = Tally()
    token = _CURRENT.set(tally)
    try:
        yield tally
    finally:
        _CURRENT.reset(token)


def count(answer: Answer, *, reused: bool) -> None:
    """Adds an answer to the turn that is being counted, if any."""
    tally = _CURRENT.get()
    if tally is not None:
        tally.reused += reused
        tally.tokens += answer.usage.completion_tokens
        tally.bytes.update(answer.bytes)
