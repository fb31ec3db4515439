"""A model that says which option an answer means where the rule finds none. Its question is ours, of VLMEvalKit's form.

Optional: without it, what the rule cannot read is wrong, and counted as unmatched.
"""

from aiflow.bench.judges.judge import Heard, Judge
from aiflow.bench.suites.vqa.data import Item
from aiflow.bench.suites.vqa.options import NONE, infer
from aiflow.bench.suites.vqa.yes_no import stated
from aiflow.types import Answer, Options

UNKNOWN = "Unknown"
_CHOICE = "Which option means most nearly the same as the answer? Say its letter alone, or Z if none does."
_YES_NO = "Does the answer mean yes or no? Say Yes, No or Unknown alone."
_HOW = Options(max_tokens=16, temperature=0.0)


async def match(judge: Judge, item: Item, said: str) -> Heard[str]:
    """The letter (``Z``: none), or Yes, No or Unknown where there are no options, that the judge finds in ``said``.

    The value is None if the judge's words cannot be read either. Raises AgentError.
    """
    asked = f"Question: {item.question}\n"
    if item.options:
        listed = "\n".join(f"{letter}. {text}" for letter, text in item.options.items())
        prompt = f"{_CHOICE}\n{asked}Options:\n{listed}\nAnswer: {said}\nYour output:"
    else:
        prompt = f"{_YES_NO}\n{asked}Answer: {said}\nYour output:"

    def read(answer: Answer) -> str | None:
        if item.options:
            return infer(answer.text, {**item.options}) or None
        return stated(answer.text) or (UNKNOWN if UNKNOWN.lower() in answer.text.lower() else None)

    return await judge.hear(prompt, read, options=_HOW, label="match")


def letter(verdict: str) -> str:
    """What a verdict names; empty for ``Z`` and ``Unknown``."""
    return "" if verdict in (NONE, UNKNOWN) else verdict
