"""GSM8K, MATH-500 and AIME 2024: problems with one final answer, which is read by a rule and compared exactly.

``suite`` is for live runs, ``recorded`` scores GSM8K's four published models, ``gold`` checks the rules on the worked
solutions that come with the problems.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiflow.bench.suites.maths import data as _data
from aiflow.bench.suites.maths.data import spelled
from aiflow.bench.suites.maths.score import RULES
from aiflow.bench.suites.maths.suite import suite

NAMES = tuple(_data.SOURCES)

__all__ = ["NAMES", "Vote", "answers", "gold", "recorded", "spelled", "suite", "votes"]


@dataclass(frozen=True, kw_only=True)
class Vote:
    """A recorded solution, the answer read from it (None: there is none), the gold one, and whether they are equal."""

    text: str
    vote: str | None
    gold: str | None
    correct: bool


def votes(data: Path | None = None) -> dict[str, tuple[Vote, ...]]:
    """GSM8K's recorded models: model -> a vote for each test problem, in the order of the file. Raises DataError."""
    return {model: tuple(map(_vote, solutions)) for model, solutions in _data.recorded(data).items()}


def answers(name: str, data: Path | None = None) -> dict[str, dict[str, tuple[str]]]:
    """Model -> problem id -> its recorded solution; of GSM8K, the others have none. Raises DataError, InputError."""
    if name != "gsm8k":
        _data.source(name)
        return {}
    ids = {" ".join(problem.text.split()): problem.id for problem in _data.problems(name, data)}
    found = _data.recorded(data)
    keyed = {m: [(ids.get(" ".join(s.question.split())), s) for s in solutions] for m, solutions in found.items()}
    return {model: {key: (s.text,) for key, s in solutions if key} for model, solutions in keyed.items()}


def _vote(solved: _data.Solved) -> Vote:
    rule = RULES["gsm8k"]
    found, due = rule.extract(solved.text), rule.extract(solved.gold)
    correct = found is not None and due is not None and rule.equal(found, due)
    return Vote(text=solved.text, vote=found, gold=due, correct=correct)


def recorded(name: str, data: Path | None = None) -> dict[str, Any]:
    """Scores of the recorded models (GSM8K has four; the others none), with a check of the rules on the gold.

    Per model: ``pass@1`` in percent of n, ``unparsed`` texts (they count as wrong), and ``disagreements`` with the
    verdicts recorded beside them, of ``verdicts``. Raises DataError, InputError.
    """
    _data.source(name)
    models = _data.recorded(data) if name == "gsm8k" else {}
    scored = {model: _scored(solutions) for model, solutions in models.items()}
    checks = _data.has_problems(name, data) or name != "gsm8k"  # a file of recorded models alone is enough
    return {"suite": name, "models": scored, "gold": gold(name, data) if checks else None}


def gold(name: str, data: Path | None = None) -> dict[str, Any]:
    """Of how many worked solutions the rule reads the very answer that is recorded as theirs. Raises DataError."""
    rule = RULES[name]
    odd, without, count = [], 0, 0
    for problem in _data.problems(name, data):
        count += 1
        if not problem.solution:
            without += 1
            continue
        found = rule.extract(problem.solution)
        own = rule.extract(f"\\boxed{{{problem.answer}}}")
        if found is None or own is None or not rule.equal(found, own):
            odd.append(problem.id)
    return {"problems": count, "agree": count - without - len(odd), "without_solution": without, "disagree": odd}


def _scored(solutions: tuple[_data.Solved, ...]) -> dict[str, Any]:
    found = [(_vote(solved), solved.correct) for solved in solutions]
    verdicts = [(vote.correct, told) for vote, told in found if told is not None]
    return {
        "pass@1": 100.0 * sum(vote.correct for vote, _ in found) / len(found),
        "n": len(found),
        "unparsed": sum(vote.vote is None for vote, _ in found),
        "verdicts": len(verdicts),
        "disagreements": sum(own != told for own, told in verdicts),
    }
