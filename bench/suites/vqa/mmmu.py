"""MMMU's own rules (``eval_utils.py``): which option a response names, what an open one holds, when it is right.

Pure. Its oddities decide published scores, and are kept: the response is lower-cased before it is cut where a capital
follows a full stop, so only line breaks cut; an open answer is right if a right text is part of what it holds.
"""

import random
import re
from collections.abc import Mapping, Sequence

SEED = 42
DOMAINS = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}
Held = str | float
"""What an open response holds: a text in lower case, or a number of two decimals."""

_ENDS = (",", ".", "!", "?", ";", ":", "'")
_CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = tuple(
    map(
        re.compile,
        (
            r"-?\b\d{1,3}(?:,\d{3})+\b",
            r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
            r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
        ),
    )
)


def letter(response: str, options: Mapping[str, str]) -> str:
    """The option that the response names: ``(A)``, else `` A ``, else its text in over five words; the last named.

    Empty if none is named; the official tool then draws one (``drawn``).
    """
    for end in _ENDS:
        response = response.strip(end)
    padded = f" {response} "
    for form in ("({})", " {} "):
        places = {option: padded.rfind(form.format(option)) for option in options}
        if max(places.values(), default=-1) >= 0:
            return max(places, key=lambda option: places[option])
    if len(padded.split()) > 5:
        places = {option: padded.lower().rfind(text.lower()) for option, text in options.items()}
        if max(places.values(), default=-1) >= 0:
            return max(places, key=lambda option: places[option])
    return ""


def drawn(options: Mapping[str, str], rng: random.Random) -> str:
    """An option at random, for a response that names none."""
    return rng.choice(list(options))


def held(response: str) -> list[Held]:
    """What an open response offers as its answer: what follows the last cue of each line, and the numbers in it."""
    offers = _offers(response)
    numbers = [found for offer in offers for pattern in _NUMBERS for found in pattern.findall(offer)]
    return [part for text in (*offers, *numbers) for part in _plain(text)]


def right(golds: Sequence[str], offered: Sequence[Held]) -> bool:
    """Whether a right text is part of an offered text, or a right number is offered."""
    known = [part for gold in golds for part in _plain(gold)]
    texts = [part for part in known if isinstance(part, str)]
    return any(any(text in offer for text in texts) if isinstance(offer, str) else offer in known for offer in offered)


def _offers(response: str) -> list[str]:
    lines = response.strip().strip(".").lower().split("\n")
    offers = []
    for number, line in enumerate(lines, 1):
        cues = (*_CUES, "=") if number == len(lines) else _CUES
        tails = [line.split(cue)[-1].strip() for cue in cues if cue in line]
        best = ""
        for tail in tails:
            if not best or len(tail) < len(best):
                best = tail
        if best and best not in (":", ",", ".", "!", "?", ";", "'"):
            offers.append(best)
    return offers or [response.strip().strip(".").lower()]


def _plain(text: str) -> list[Held]:
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        low = text.lower()
        return [f" {low}", f"{low} "] if len(low) == 1 else [low]
