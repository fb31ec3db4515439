"""The most frequent answer. Meant for short answers; among free texts, which all differ, the first one wins."""

import string
from collections import Counter
from collections.abc import Mapping

_EDGE = string.whitespace + string.punctuation.replace("-", "").replace("+", "")


def normal(text: str) -> str:
    """``text`` without case, surplus white space, and punctuation around it."""
    return " ".join(text.casefold().split()).strip(_EDGE) or text.strip()


def vote(answers: Mapping[str, str]) -> tuple[str, int]:
    """The first device that gave the most frequent answer, and how many gave it. Ties go to the earlier device."""
    votes = Counter(normal(text) for text in answers.values())
    most = max(votes.values())
    return next(name for name, text in answers.items() if votes[normal(text)] == most), most
