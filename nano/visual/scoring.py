"""The scoring rules of the nine forms on plain texts: yes/no, options, substring, relaxed accuracy, ANLS."""

import re

from aiflow.nano.visual.questions import Form

# ANLS counts similarities below this as 0 (Biten et al., 2019).
LEAST_SIMILARITY = 0.5
# The relative error that chartqa accepts (Masry et al., 2022).
TOLERANCE = 0.05


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _only(found: set[str]) -> str | None:
    return found.pop() if len(found) == 1 else None


def option(text: str, options: tuple[str, ...]) -> str | None:
    """The letter that an answer means: the only option letter among its words, else the only option text in it."""
    letters = {letter.lower(): letter for letter in "ABCD"[: len(options)]}
    words = _words(text)
    said = {letters[w] for w in words if w in letters}
    # "a" may be an article; alone, or as a capital, it is a letter.
    if "A" in said and len(words) > 1 and not re.search(r"\bA\b", text):
        said.discard("A")
    if said:
        return _only(said)
    line = f" {' '.join(words)} "
    return _only({x for x, o in zip("ABCD", options, strict=False) if f" {' '.join(_words(o))} " in line})


def number(text: str) -> float | None:
    """The only number of a text."""
    found = set(re.findall(r"-?\d+(?:\.\d+)?", text))
    only = _only(found)
    return None if only is None else float(only)


def read(form: Form, options: tuple[str, ...], text: str) -> str | None:
    """What an answer says in the form's terms (yes/no, option letter, words), or None if it cannot be read."""
    if form == "mme":
        return _only({w for w in _words(text) if w in ("yes", "no")})
    if options:
        return option(text, options)
    return " ".join(_words(text)) or None


def levenshtein(a: str, b: str) -> int:
    """The least number of insertions, deletions and substitutions that turn ``a`` into ``b``."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def anls(reference: str, text: str) -> float:
    """1 - edit distance / longer length, 0 below one half; case and outer spaces do not count."""
    a, b = reference.strip().lower(), text.strip().lower()
    similarity = 1 - levenshtein(a, b) / max(len(a), len(b), 1)
    return similarity if similarity >= LEAST_SIMILARITY else 0.0


def relaxed(reference: str, text: str) -> bool:
    """Numbers within 5 % (a target of 0: the same string), other texts the same words."""
    said, wanted = number(text), number(reference)
    if wanted is None:
        return _words(text) == _words(reference)
    if wanted == 0:
        return text.strip() == reference.strip()
    return said is not None and abs(said - wanted) <= TOLERANCE * abs(wanted)


def mark(form: Form, options: tuple[str, ...], reference: str, text: str) -> float:
    """The score of one answer, 0..1."""
    if form == "ocrbench":
        return float(reference.lower() in text.lower())
    if form == "chartqa":
        return float(relaxed(reference, text))
    if form == "docvqa":
        return anls(reference, text)
    said = read(form, options, text)
    return float(said is not None and said.lower() == reference.lower())
