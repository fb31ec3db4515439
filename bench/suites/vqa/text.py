"""Rules for answers in free words: VQA accuracy, relaxed accuracy, exact match, ANLS. Pure; a score is of 0..1.

Each follows VLMEvalKit (``vqa_eval``, mid 2024) where published scores depend on a detail; the detail is named.
"""

import ast
from collections.abc import Sequence

from aiflow.bench.suites.vqa.words import normal
from aiflow.nano.visual.scoring import levenshtein

TOLERANCE = 0.05
THRESHOLD = 0.5


def golds(answer: str) -> tuple[str, ...]:
    """The right answers: those of a Python list, e.g. ``['7', 'seven']``, else the text itself."""
    if answer.lstrip().startswith("["):
        try:
            found = ast.literal_eval(answer.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return (answer,)
        if isinstance(found, list):
            return tuple(map(str, found))
    return (answer,)


def vqa(right: Sequence[str], said: str) -> float:
    """VQA accuracy: min(1, matches / 3) among the other annotators, averaged over leaving out each of them."""
    ours = normal(said)
    same = [normal(text) == ours for text in right]
    return sum(min(1.0, (sum(same) - one) / 3) for one in same) / len(same) if same else 0.0


def relaxed(right: Sequence[str], said: str, published: bool = True) -> float:
    """1 if a number is within 5 % of a right one (``%`` is read), or a text is the same but for case.

    ``published``: the 5 % are of the answer, and an answer of 0 is compared as text, as VLMEvalKit had it until
    September 2025; else both of the right one, as ChartQA's paper has it.
    """
    ours = said.strip()
    return float(any(_near(ours, text) if published else _near(text, ours) for text in right))


def exact(right: Sequence[str], said: str) -> float:
    """1 if the answer is a right one but for case and the space around it."""
    return float(any(text.strip().lower() == said.strip().lower() for text in right))


def anls(right: Sequence[str], said: str) -> float:
    """1 - edit distance / length of the longer, of the best right answer; 0 below one half.

    Case and runs of white space count nothing in the distance; the lengths are those of the texts as they are.
    """
    return max((_similarity(text, said) for text in right), default=0.0)


def _similarity(right: str, said: str) -> float:
    a, b = " ".join(right.lower().split()), " ".join(said.lower().split())
    length = max(len(right.upper()), len(said.upper()))
    if a == b or not length:
        return 1.0
    if 1 - abs(len(a) - len(b)) / length < THRESHOLD:  # the distance is no less than that
        return 0.0
    found = 1 - levenshtein(a, b) / length
    return 0.0 if found < THRESHOLD else found


def _near(target: str, said: str) -> bool:
    aim, number = _number(target), _number(said)
    if number is None or not aim:
        return said.lower() == target.lower()
    return abs(number - aim) / abs(aim) <= TOLERANCE


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None
