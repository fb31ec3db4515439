"""What is to be answered, as far as a plan depends on it: sizes, a deadline, a wish. Knows no text and no model."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from aiflow.errors import InputError

Wish = float | Literal["best", "fast"]
MESSAGE, TOKEN = 160, 4
"""Bytes of a message around its text, and of a token of text."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A question before it is asked. Raises InputError for a size, deadline or wish that cannot be meant.

    Attributes:
        prompt_tokens: of the text, at least 1.
        output_tokens: expected of the answer, at least 1.
        image_bytes: size of each picture's file.
        deadline: seconds from the question to the whole answer; None: the sooner the better.
        quality: "best": the best that meets the deadline; "fast": the soonest; a number of 0..1: the soonest that is
            expected to be at least so good (1: as the best model of the cluster).
        exact: the answer must be, token for token, that of the top model alone.
    """

    prompt_tokens: int
    output_tokens: int = 128
    image_bytes: tuple[int, ...] = ()
    deadline: float | None = None
    quality: Wish = "best"
    exact: bool = False

    def __post_init__(self) -> None:
        for name, count in (("prompt_tokens", self.prompt_tokens), ("output_tokens", self.output_tokens)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(f"{name}={count!r} is not usable; give a whole number, at least 1.")
        for size in self.image_bytes:
            if not isinstance(size, int) or size < 1:
                raise InputError(f"an image of {size!r} bytes is not usable; give the size of its file.")
        if self.deadline is not None and not (isfinite(self.deadline) and self.deadline > 0):
            raise InputError(f"deadline={self.deadline!r} is not usable; give seconds above 0, or None.")
        if self.quality not in ("best", "fast") and not (isinstance(self.quality, int | float) and self.share_wished):
            raise InputError(f"quality={self.quality!r} is not usable; give 'best', 'fast' or a number of 0..1.")

    @property
    def share_wished(self) -> bool:
        """Whether ``quality`` is a number of 0..1."""
        return not isinstance(self.quality, str) and 0 <= self.quality <= 1

    @property
    def prompt_bytes(self) -> int:
        """Of the message that carries the question, with its pictures."""
        return MESSAGE + TOKEN * self.prompt_tokens + sum(self.image_bytes)

    @property
    def answer_bytes(self) -> int:
        """Of the message that carries the answer."""
        return MESSAGE + TOKEN * self.output_tokens
