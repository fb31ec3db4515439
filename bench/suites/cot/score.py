"""How FastEval reads answers of chain-of-thought tasks and scores them: votes, credits, averages. Pure; no files.

A task is ``gsm8k``, ``math``, ``bbh/<name>`` or ``mmlu/<subject>``. A vote is the answer that was read, spelled so that
equal votes mean equal answers. Source: FastEval, cot benchmark.
"""

import re
import statistics
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Literal

from aiflow.bench.suites.cot import latex
from aiflow.errors import InputError

Benchmark = Literal["gsm8k", "math", "bbh", "mmlu"]
BENCHMARKS: tuple[Benchmark, ...] = ("gsm8k", "math", "bbh", "mmlu")
WEIGHTS: Mapping[Benchmark, float] = {"gsm8k": 0.2, "math": 0.4, "bbh": 0.2, "mmlu": 0.2}
_OTHER = "[^a-zA-Z]"
_AROUND = ((r"\(", r"\)"), (" ", r"\)"), (" ", "$"), (" ", _OTHER), (_OTHER, "$"), (_OTHER, _OTHER))
"""What stands around an option's letter, the surest first."""
_NUMBER = re.compile(r"\d+(?:,\d+)*(?:\.\d+)?")


def benchmark(task: str) -> Benchmark:
    """E.g. ``bbh`` for ``bbh/snarks``. Raises InputError for a task of another benchmark."""
    for name in BENCHMARKS:
        if task == name or (task.startswith(name + "/") and name in ("bbh", "mmlu")):
            return name
    raise InputError(f"{task!r} is no task here; use gsm8k, math, bbh/<name> or mmlu/<subject>.")


def options(question: str) -> dict[str, str]:
    """Letter -> text of the lines ``(A) text`` of a question."""
    lines = [line for line in question.split("\n") if len(line) >= 5 and line[0] == "(" and line[2] == ")"]
    return {line[1]: line[4:] for line in lines if line[1] in ascii_uppercase}


def extract(task: str, text: str, question: str = "") -> str | None:
    """The vote in an answer: of the last line that holds one. None if none does.

    ``question`` tells the options of a bbh or mmlu task. Raises InputError where these are needed and it has none.
    """
    kind = benchmark(task)
    if kind == "gsm8k":
        return _number(text)
    if kind == "math":
        return _formula(text)
    given = options(question)
    if not given:
        raise InputError(f"{task}: the question has no lines '(A) text'; pass the question with its options.")
    return _letter(text, given)


def correct(task: str, vote: str | None, gold: str) -> bool:
    """Whether a vote is right; ``gold`` is spelled as by ``gold_vote``. No vote is wrong."""
    if vote is None:
        return False
    return abs(float(vote) - float(gold)) < 1e-8 if task == "gsm8k" else vote == gold


def gold_vote(task: str, answer: str | int) -> str | None:
    """The right vote from the dataset's own answer: a worked solution, ``(B)``, or an option's index. None: no answer.

    A few BBH questions give a text in place of the letter; then no vote is right, as in the published scores.
    """
    kind = benchmark(task)
    if isinstance(answer, int):
        return ascii_uppercase[answer] if 0 <= answer < 26 else None
    if kind == "gsm8k":
        marked = answer.rsplit("####", 1)[1].replace(",", "").strip() if "####" in answer else ""
        return marked if re.fullmatch(r"-?\d+(\.\d+)?", marked) else None
    if kind == "math":
        box = latex.boxed(answer)
        return None if box is None else latex.normal(box)
    return answer.replace("(", "").replace(")", "") or None


def credit(task: str, vote: str | None, gold: str, question: str = "") -> float:
    """What the benchmark gives: 1 or 0; for a choice without a vote, what guessing gives."""
    if vote is None and benchmark(task) in ("bbh", "mmlu"):
        return 1 / len(options(question))
    return float(correct(task, vote, gold))


def scores(credits: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    """``gsm8k``, ``math``, ``bbh``, ``mmlu`` (means over tasks) and the weighted ``total``, of 0..1.

    ``credits``: task -> of each question. None where there are no questions, and for a total that lacks a part.
    """
    means = {task: sum(found) / len(found) for task, found in credits.items() if found}
    parts: dict[str, float | None] = {}
    for name in BENCHMARKS:
        own = [mean for task, mean in means.items() if benchmark(task) == name]
        parts[name] = statistics.mean(own) if own else None
    known = [weight * score for name, weight in WEIGHTS.items() if (score := parts[name]) is not None]
    return {**parts, "total": sum(known) if len(known) == len(BENCHMARKS) else None}


def _number(text: str) -> str | None:
    for line in reversed(text.split("\n")):
        if found := _NUMBER.findall(line):
            whole, _, rest = found[-1].replace(",", "").partition(".")
            rest = rest.rstrip("0")
            return (whole.lstrip("0") or "0") + (f".{rest}" if rest else "")
    return None


def _formula(text: str) -> str | None:
    for line in reversed(text.split("\n")):
        part = latex.last_part(line)
        if part.strip():
            try:
                return latex.normal(part)
            except latex.UnreadableError:
                return part
    return None


def _letter(text: str, given: Mapping[str, str]) -> str | None:
    own = f"[{''.join(given)}]"
    lines = text.split("\n")[::-1]
    for line in lines:
        for before, after in _AROUND:
            if found := re.findall(before + own + after, line):
                return next(letter for letter in given if letter in found[-1])
    for line in lines:
        places = {letter: line.rfind(said) for letter, said in given.items()}
        last = max(places, key=places.__getitem__)
        if places[last] >= 0:
            return last
    return None
