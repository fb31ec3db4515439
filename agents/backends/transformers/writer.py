"""Tokens -> text, as they come: whole characters only, cut exactly before a stop string. Knows no model."""

from collections.abc import Callable, Sequence

_HALF = "\ufffd"  # what a tokenizer decodes an incomplete UTF-8 sequence to


class Writer:
    """Decodes one answer incrementally; the pieces it returns concatenate to its final text.

    Each step decodes a short window (the tokens of the last two pieces), so a token costs the same however long the
    answer is. Text that ends in an incomplete character, or that may be the start of a stop string, is held back; an
    answer that ends inside a character loses that character.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> None:
        self.stopped = False
        self._decode = decode
        self._stop = tuple(stop)
        self._window: list[int] = []  # tokens already written (the context) and tokens not yet written
        self._written = 0  # how many of them are written
        self._context = ""  # the text of those
        self._held = ""

    def push(self, token: int) -> str:
        """Takes the next token; returns the text that is now certain. Sets ``stopped`` at a stop string."""
        self._window.append(token)
        text = self._decode(self._window)
        if len(text) <= len(self._context) or text.endswith(_HALF):
            return ""
        new = text[len(self._context) :]
        self._window = self._window[self._written :]
        self._written = len(self._window)
        self._context = self._decode(self._window)
        return self._release(new)

    def end(self) -> str:
        """Returns what was held back, without an incomplete last character."""
        rest = self._decode(self._window)[len(self._context) :].rstrip(_HALF)
        text = self._release(rest) if rest else ""
        text, self._held = text + self._held, ""
        return text

    def _release(self, new: str) -> str:
        if not self._stop:
            return new
        text, self._held = self._held + new, ""
        found = [at for s in self._stop if (at := text.find(s)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        keep = max(_overlap(text, s) for s in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that starts ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)
