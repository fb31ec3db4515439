"""Which option of a multiple-choice question an answer names. Pure; knows no gold answer and no suite.

The rule of VLMEvalKit (``matching_util``, 2023-11 to 2025-07), under which the published scores were made: the one
option letter that stands by itself, else the one option whose text the answer contains.
"""

from collections.abc import Mapping

NONE = "Z"
"""What a refusal names: no option at all."""
_SPACED = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_FAILED = "Failed to obtain answer via API"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)


def infer(answer: str, options: Mapping[str, str], last: int | None = None) -> str:
    """The letter that ``answer`` names, ``Z`` for a refusal, empty if it names none or several.

    ``last``: a letter counts only if it first stands among so many tokens at the end; 4 is VLMEvalKit's rule since
    August 2025, which reads fewer articles as option A, and other letters than the published scores hold.
    """
    return _letter(answer, options, last) or _text(answer, options)


def _letter(answer: str, options: Mapping[str, str], last: int | None) -> str:
    if _FAILED in answer:
        return ""
    if any(refusal in answer for refusal in _REFUSALS):
        return NONE
    tokens = answer.translate(_SPACED).split()
    named = [letter for letter in options if letter in tokens]
    if len(named) == 1:
        return named[0] if last is None or tokens.index(named[0]) >= len(tokens) - last else ""
    return NONE if not named and NONE in tokens else ""


def _text(answer: str, options: Mapping[str, str]) -> str:
    low = answer.lower()
    named = [letter for letter, text in options.items() if text.lower() in low]
    return named[0] if len(named) == 1 else ""
