"""One way to answer a task with its predicted figures, and the plan that was made of all ways. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MODES = ("on_device", "server_only", "split", "draft_verify", "draft_verify_3", "tofc", "collaborate")

Key = tuple[str, tuple[str, ...], tuple[tuple[str, Any], ...]]


@dataclass(frozen=True, kw_only=True)
class Option:
    """A mode with all its parameters.

    Attributes:
        mode: one of `MODES`.
        parties: names of the agents, the asker's device or the first to compute first.
        parameters: what tells it from other options of the mode; ``tuned``: what was best at the moment.
        seconds: expected, to the whole answer at the device; ``slow``: at a bad moment.
        bytes: by link.
        quality: 0..1, see `prior`; ``exact``: the text is the top agent's, token for token.
        why_not: why it cannot be chosen; empty: it can.
    """

    mode: str
    parties: tuple[str, ...]
    seconds: float
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tuned: Mapping[str, Any] = field(default_factory=dict)
    slow: float = 0.0
    bytes: Mapping[str, float] = field(default_factory=dict)
    quality: float = 1.0
    exact: bool = False
    why_not: str = ""

    @property
    def key(self) -> Key:
        """The same for the same way at another moment."""
        return self.mode, self.parties, tuple(sorted(self.parameters.items()))

    @property
    def possible(self) -> bool:
        """Whether it can be chosen."""
        return not self.why_not

    @property
    def total_bytes(self) -> float:
        """Over all links."""
        return sum(self.bytes.values())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The chosen option, all others (the soonest first), and why. ``late``: none meets the deadline.

    ``kept``: another one is a little sooner, but not by enough to change. ``waits``: it needs what is down now, since
    nothing else fits the wish.
    """

    chosen: Option
    options: tuple[Option, ...]
    reason: str
    late: bool = False
    kept: bool = False
    waits: bool = False
