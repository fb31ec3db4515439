"""What a partitioned inference says at its end. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiflow.types import Answer


@dataclass(frozen=True, kw_only=True)
class Served:
    """A stage: blocks ``begin`` .. ``end`` - 1 at an agent, ``held`` bytes of weights there."""

    agent: str
    node: str
    begin: int
    end: int
    held: int


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """A stage was lost: at which agent, after how many tokens of the answer, why; and seconds until the next token."""

    agent: str
    tokens: int
    why: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Staged(Answer):
    """An answer that several nodes computed, each some blocks of one model.

    Attributes:
        stages: those that gave the last token, in order.
        epochs: times that the caches were built: 1 where nothing happened.
        recoveries: what was lost on the way, and how long it took to go on.
        hidden: bytes of hidden states between stages, by link; ``bytes`` has all that crossed.
    """

    stages: tuple[Served, ...] = ()
    epochs: int = 1
    recoveries: tuple[Recovery, ...] = ()
    hidden: Mapping[str, int] = field(default_factory=dict)
