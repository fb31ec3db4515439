"""Reads ratings out of judges' replies, by MT-Bench's rule. A reply without a rating is None, never 0."""

import math
import re

_RATINGS = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))


def rating(reply: str) -> float | None:
    """The first ``[[7]]`` of a reply, else its first ``[7]``, else None."""
    found = next((match for pattern in _RATINGS if (match := pattern.search(reply))), None)
    value = float(found[1]) if found else math.inf  # as is what has more digits than a float
    return value if math.isfinite(value) else None
