"""Boards of tasks with one right answer, reasoned out in text: FastEval's chain-of-thought tasks, GSM8K's own models.

An answer in which no vote is found counts as wrong (FastEval gives it what guessing would have), so that nothing is
won by picking it.
"""

from pathlib import Path

from aiflow.bench.collaborations.board import Board
from aiflow.bench.collaborations.boards.make import Entry, make


def chain_of_thought(data: Path | None = None, benchmark: str = "") -> Board:
    """GSM8K, MATH, BBH and MMLU as FastEval asked them (or one of these), all recorded models. Raises DataError."""
    from aiflow.bench.suites import cot
    from aiflow.bench.suites.cot.score import benchmark as of

    votes = cot.votes(data)
    entries = []
    for task, questions in cot.questions(data).items():
        for name, question in questions.items() if not benchmark or of(task) == benchmark else ():
            said = [votes[model].get(task, {}).get(name) for model in votes]
            entries.append(
                Entry(
                    id=f"{task}:{name}",
                    question=question.text,
                    category=task,
                    answers=[vote.text if vote else "" for vote in said],
                    votes=[(vote.vote or "") if vote else "" for vote in said],
                    scores=[float(vote.correct) if vote else float("nan") for vote in said],
                )
            )
    return make(benchmark.upper() or "CoT, 4 tasks", tuple(votes), entries)


def grade_school(data: Path | None = None) -> Board:
    """GSM8K's test set with the solutions of OpenAI's four models. Raises DataError."""
    from aiflow.bench.suites import maths
    from aiflow.bench.suites.maths.data import problems

    votes = maths.votes(data)
    questions = [problem.text for problem in problems("gsm8k", data)]
    entries = [
        Entry(
            id=str(q),
            question=question,
            category="gsm8k",
            answers=[votes[model][q].text for model in votes],
            votes=[votes[model][q].vote or "" for model in votes],
            scores=[float(votes[model][q].correct) for model in votes],
        )
        for q, question in enumerate(questions)
    ]
    return make("GSM8K (2021)", tuple(votes), entries)
