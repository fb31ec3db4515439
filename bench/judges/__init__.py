"""Models that judge answers: how they are asked, and how strictly their words are read."""

from aiflow.bench.judges.judge import Judge
from aiflow.bench.judges.ratings import rating

__all__ = ["Judge", "rating"]
