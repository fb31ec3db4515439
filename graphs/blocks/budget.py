"""Keeps a prompt of transcript and answers below a limit: cuts the longest answers first, then the oldest turns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiflow import prompts
from aiflow.types import Message

Answers = Sequence[tuple[str, str, str]]  # name, description, text
Write = Callable[[str, Answers], str]  # transcript, answers -> prompt
CUT = " [...]"
LEAST = 80  # units that every answer keeps, if cutting the transcript can help instead


@dataclass(frozen=True)
class Budget:
    """At most ``limit`` units of ``measure`` (characters, or a tokenizer's count) for a prompt; None: no limit."""

    limit: int | None = None
    measure: Callable[[str], int] = len

    def fit(self, turns: Sequence[Message], answers: Answers, write: Write) -> tuple[str, str]:
        """Returns the prompt by ``write``, and a note that says what was cut ("" if nothing was).

        All answers longer than a common length are cut to it. If that is not enough, the oldest turns go, then the
        last question's end. What remains above the limit is the template's and the descriptions' own length.
        """
        longest = max((len(text) for _, _, text in answers), default=0)
        whole = self._write(turns, answers, write, longest)
        if self._fits(whole):
            return whole, ""
        kept = list(turns)
        while len(kept) > 1 and not self._fits(self._write(kept, answers, write, LEAST)):
            kept.pop(0)
        if not self._fits(self._write(kept, answers, write, LEAST)):
            kept = [self._cut_question(kept[-1], answers, write)]
        cap = _largest(longest, lambda length: self._fits(self._write(kept, answers, write, length)))
        cut = sum(len(text) > cap for _, _, text in answers)
        notes = [f"{len(turns) - len(kept)} oldest turns dropped"] if len(kept) < len(turns) else []
        notes += ["the question cut"] if kept[-1].text != turns[-1].text else []
        notes += [f"{cut} answers cut to {cap} characters"] if cut else []
        return self._write(kept, answers, write, cap), "context limit: " + ", ".join(notes)

    def _cut_question(self, turn: Message, answers: Answers, write: Write) -> Message:
        def shorter(length: int) -> Message:
            return Message(turn.role, clip(turn.text, length))

        return shorter(_largest(len(turn.text), lambda n: self._fits(self._write([shorter(n)], answers, write, LEAST))))

    def _write(self, turns: Sequence[Message], answers: Answers, write: Write, length: int) -> str:
        talk = prompts.transcript((turn.role, turn.text) for turn in turns)
        return write(talk, [(name, about, clip(text, length)) for name, about, text in answers])

    def _fits(self, prompt: str) -> bool:
        return self.limit is None or self.measure(prompt) <= self.limit


def clip(text: str, length: int) -> str:
    """``text``, at most ``length`` characters of it, the cut marked where there is room for the mark."""
    if len(text) <= length:
        return text
    return text[: length - len(CUT)] + CUT if length > 2 * len(CUT) else text[:length]


def _largest(high: int, fits: Callable[[int], bool]) -> int:
    """The largest length in 0..high that fits (0 if none does), by bisection."""
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
