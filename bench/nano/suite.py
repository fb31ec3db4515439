"""The nano suite: held-out two-turn questions in eight categories, scored by exact checkers. 100 is right, 0 wrong."""

from aiflow.bench.suite import Sample, Suite, by_rule
from aiflow.errors import InputError
from aiflow.nano import questions as held_out


def nano_suite(questions: int = held_out.SUITE_SIZE, seed: int = held_out.SEED) -> Suite:
    """``questions`` of them, drawn by ``seed``. Raises InputError when none are asked for."""
    if questions < 1:
        raise InputError(f"a suite of {questions} questions says nothing; ask for 1 or more.")
    known = {question.id: question for question in held_out.suite(questions, seed)}

    def score(sample: Sample, turn: int, text: str) -> float:
        return 100.0 * held_out.check(known[sample.id], turn, text)

    samples = [
        Sample(id=str(q.id), category=q.category, turns=tuple(q.turns), references=tuple(q.references))
        for q in known.values()
    ]
    return Suite(name="nano", samples=samples, grade=by_rule(score))
