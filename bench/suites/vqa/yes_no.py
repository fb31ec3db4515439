"""Whether an answer says yes or no, by VLMEvalKit's rule and by that of MME's own tool. Pure."""

from aiflow.bench.suites.vqa.words import unpunctuated


def stated(answer: str) -> str:
    """``Yes`` or ``No`` if exactly one of the two words stands in ``answer``, else empty (VLMEvalKit, ``yorn``)."""
    words = unpunctuated(answer.lower()).split()
    yes, no = "yes" in words, "no" in words
    return "" if yes == no else "Yes" if yes else "No"


def opened(answer: str) -> str:
    """``Yes`` or ``No`` if it is the answer or stands in its first four characters, else empty (MME's tool)."""
    start = answer.lower()[:4]
    return "Yes" if "yes" in start else "No" if "no" in start else ""
