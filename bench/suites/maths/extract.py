r"""The final answer in what a model wrote: the last box, ``#### 18``, ``A: 18``, "the answer is 18", the last number.

None means that there is none, which is counted apart from a wrong answer. Nothing is compared here.
"""

import re

from aiflow.bench.suites.maths.latex import closing, normal

_NUMBER = r"[-+−]?\s?\$?\s?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
_FOUND = re.compile(_NUMBER)
_MARKED = re.compile(r"####\s*(.*)")
_LETTER = re.compile(r"^\s*A(?:nswer)?\s*:\s*(.*)$", re.MULTILINE)
_SENTENCE = re.compile(r"answer\s+is\s*:?\s*(.*)", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*")


def boxed(text: str) -> str | None:
    r"""What the last complete ``\boxed{..}`` (``\fbox``, ``\framebox``, ``\boxed 5``) holds, braces nested."""
    for found in reversed(list(_BOX.finditer(text))):
        at = found.end()
        if text[at : at + 1] == "{":
            end = closing(text, at)
            if end > 0:
                return text[at + 1 : end]
        elif word := re.compile(r"[^\s$.,{}]+").match(text, at):
            return word[0]
    return None


def gsm8k(text: str) -> str | None:
    """The number after the last ``####``, else of the last line ``A: ..``, in the last box, after the last "answer
    is", else the last number; without commas and currency, e.g. ``-1250.5``.
    """
    for rule in (_MARKED, _LETTER):
        if marked := rule.findall(text):
            return number(marked[-1])
    box = boxed(text)
    if box is not None:
        return number(normal(box))
    told = _SENTENCE.findall(text)
    if told and (found := number(told[-1])):
        return found
    every = _FOUND.findall(text)
    return number(every[-1]) if every else None


def number(text: str) -> str | None:
    """The first number in a text as digits, or None."""
    found = _FOUND.search(text)
    if not found:
        return None
    digits = re.sub(r"[\s$,+]", "", found[0].replace("−", "-"))
    return digits if re.search(r"\d", digits) else None


def math(text: str) -> str | None:
    r"""The last box; without one, what follows the last "answer is", to the end of its sentence."""
    box = boxed(text)
    if box is not None:
        return box.strip() or None
    told = _SENTENCE.findall(text)
    if not told:
        return None
    said = re.split(r"\.(?:\s|$)", told[-1])[0].strip(" *:")
    in_dollars = re.match(r"\$([^$]+)\$", said)
    return (in_dollars[1] if in_dollars else said).strip() or None


def aime(text: str) -> str | None:
    """The answer as an integer of 0..999 without leading zeros; None if what is said is none."""
    said = math(text)
    if said is None:
        return None
    found = re.fullmatch(r"\(?(?:.*=)?0*(\d{1,3})\)?", normal(said))
    return found[1] if found else None
