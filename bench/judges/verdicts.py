"""Reads verdicts on two answers out of judges' replies. What cannot be read is None (or nothing), never a tie.

Knows the published forms only: MT-Bench's ``[[A]]``, ``[[B]]``, ``[[C]]`` and its older pair of scores, and
Arena-Hard's five ways from ``[[A>>B]]`` to ``[[B>>A]]``. Which model stood in which place is the caller's business.
"""

import re
from typing import Literal

Winner = Literal["A", "B", "tie"]

TIE_DELTA = 0.1
"""MT-Bench: two scores that differ by no more are a tie."""
_LETTERS: dict[str, Winner] = {"A": "A", "B": "B", "C": "tie"}
_LETTER = re.compile(r"\[\[([ABC])\]\]")
_SCORES = (re.compile(r"\[\[(\d+\.?\d*),\s?(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*),\s?(\d+\.?\d*)\]"))
_FIVE_WAY = re.compile(r"\[\[([AB<>=]+)\]\]")
_FIVE_WAY_SINGLE = re.compile(r"\[([AB<>=]+)\]")


def letter(reply: str) -> Winner | None:
    """MT-Bench's ``[[A]]``, ``[[B]]`` or ``[[C]]`` (a tie).

    Stricter than FastChat, which takes A before B before C where a reply holds several: such a reply is None.
    """
    found = set(_LETTER.findall(reply))
    return _LETTERS[found.pop()] if len(found) == 1 else None


def two_scores(reply: str) -> tuple[float, float] | None:
    """The first ``[[8,7.5]]`` of a reply, else its first ``[8,7.5]``: the older form of MT-Bench's pair verdicts."""
    found = next((match for pattern in _SCORES if (match := pattern.search(reply))), None)
    return (float(found[1]), float(found[2])) if found else None


def winner_by_scores(reply: str) -> Winner | None:
    """Who has the higher of the ``two_scores``; a tie within ``TIE_DELTA``."""
    scores = two_scores(reply)
    if scores is None:
        return None
    gap = scores[0] - scores[1]
    return "tie" if abs(gap) <= TIE_DELTA else "A" if gap > 0 else "B"


def labels(reply: str) -> tuple[str, ...]:
    """The distinct five-way labels of a reply, in the order in which they first come."""
    return tuple(dict.fromkeys(_FIVE_WAY.findall(reply)))


def five_way(reply: str) -> str | None:
    """Arena-Hard v0.1's rule: the label, if all that the reply holds are the same. It may be one without meaning."""
    found = labels(reply)
    return found[0] if len(found) == 1 else None


def last_five_way(reply: str) -> str | None:
    """Arena-Hard v2's rule: the last ``[[A>B]]`` of a reply in any case of letters, else its last ``[A>B]``."""
    found = next((all_ for p in (_FIVE_WAY, _FIVE_WAY_SINGLE) if (all_ := p.findall(reply.upper()))), None)
    return found[-1] if found else None
