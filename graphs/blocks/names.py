"""Finds agents' names in what a model wrote. Pure text; tolerant of numbering, quotes, sentences and typing errors."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

_WORD = re.compile(r"[^\W_]+(?:[ _-]?[^\W_]+)*")
_PIECES = re.compile(r"[\n,;|/]|\band\b|\bthen\b|\bor\b|&|->|>")
CUTOFF = 0.75  # similarity from which a misspelled word counts as a name


def find_names(reply: str, names: Sequence[str], count: int) -> list[str]:
    """The first ``count`` of ``names`` in ``reply``, each once, in the order of their first mention.

    Names written out win over similar ones, the longer over the shorter ("math-2" is no "math"). Returns fewer where
    fewer can be made out.
    """
    text = reply.casefold()
    at: dict[str, int] = {}
    for name in sorted(names, key=len, reverse=True):
        pattern = rf"(?<!\w){_loose(name)}(?!\w)"
        if found := re.search(pattern, text):
            at[name] = found.start()
            text = re.sub(pattern, lambda match: "\0" * len(match[0]), text)
    if len(at) < min(count, len(names)):
        _add_similar(text, [name for name in names if name not in at], at)
    return sorted(at, key=lambda name: at[name])[:count]


def _loose(name: str) -> str:
    """A pattern for ``name`` whose separators may be written as a space, a hyphen, an underscore or not at all."""
    return r"[ \t_-]*".join(map(re.escape, re.split(r"[\s_-]+", name.strip().casefold())))


def _add_similar(text: str, names: Sequence[str], at: dict[str, int]) -> None:
    """Adds to ``at`` the names that a piece of ``text``, or one word of it, resembles."""
    known = {name.casefold(): name for name in names}
    start = 0
    for piece in _PIECES.split(text):
        place = text.index(piece, start)
        start = place + len(piece)
        for words in (_WORD.findall(piece)[:1], re.findall(r"[^\W_]+", piece)):
            if len(words) <= 12:
                for word in words:
                    _match(word, known, place + piece.index(word), at)


def _match(word: str, known: dict[str, str], place: int, at: dict[str, int]) -> None:
    if len(word) >= 3 and (near := get_close_matches(word, known, n=1, cutoff=CUTOFF)):
        at.setdefault(known[near[0]], place)
