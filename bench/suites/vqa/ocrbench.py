"""OCRBench's rule: an answer is right that contains a right text; formulas are compared without spaces. Pure."""

from collections.abc import Sequence

FORMULAS = "Handwritten Mathematical Expression Recognition"
RECOGNITION = "Text Recognition"
RECOGNISED = frozenset(
    f"{kind} Recognition"
    for kind in ("Regular Text", "Irregular Text", "Artistic Text", "Handwriting", "Digit String", "Non-Semantic Text")
)
PARTS = ("Scene Text-centric VQA", "Doc-oriented VQA", "Key Information Extraction", FORMULAS)
"""Published besides ``RECOGNITION``, which holds the categories of text recognition."""


def contains(right: Sequence[str], said: str, category: str) -> float:
    """1 if a right text stands in the answer, else 0. Case counts in formulas only."""
    ours = _plain(said, category)
    return float(any(_plain(text, category) in ours for text in right))


def _plain(text: str, category: str) -> str:
    flat = text.strip().replace("\n", " ")
    return flat.replace(" ", "") if category == FORMULAS else flat.lower()
