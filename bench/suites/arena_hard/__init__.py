"""Arena-Hard: 500 hard prompts; a judge compares each answer with a baseline's in two games with the places swapped."""

from aiflow.bench.suites.arena_hard.recorded import NAME, recorded
from aiflow.bench.suites.arena_hard.replay import answers, recorded_grader
from aiflow.bench.suites.arena_hard.suite import suite

__all__ = ["NAME", "answers", "recorded", "recorded_grader", "suite"]
