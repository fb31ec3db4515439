"""What a model over several weak nodes costs and keeps: texts with nodes lost, bytes, seconds, memory, recovery."""

from aiflow.bench.partition.command import main as main

__all__ = ["main"]
