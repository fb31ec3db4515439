"""How long an emulated node takes: seconds of one block for a pass, and for each of its tokens. Arithmetic only."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Self

from aiflow.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Of one block."""

    each: float = 0.0
    token: float = 0.0

    @classmethod
    def of(cls, value: Sequence[float] | None) -> Self | None:
        """From ``(each, token)``. Raises InputError."""
        if value is None:
            return None
        match value:
            case (int() | float() as each, int() | float() as token) if (
                isfinite(each + token) and min(each, token) >= 0
            ):
                return cls(each=float(each), token=float(token))
        raise InputError(f"pace={value!r} is not usable; give seconds of a block for a pass and for each token of it.")

    def seconds(self, blocks: int, tokens: int) -> float:
        """Of a pass."""
        return blocks * (self.each + tokens * self.token)
