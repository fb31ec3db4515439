"""MT-Bench: 80 questions of two turns, rated 1..10 by a judge, or compared with a baseline's answers."""

from aiflow.bench.suites.mt_bench.recorded import NAME, answers, recorded, recorded_grader
from aiflow.bench.suites.mt_bench.suite import suite

__all__ = ["NAME", "answers", "recorded", "recorded_grader", "suite"]
