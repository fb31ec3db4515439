"""Questions about images, VLMEvalKit's suites: MME, SEED-Bench, MMBench, MMStar, OCRBench, MMMU, ChartQA and others.

Scored by rules, as VLMEvalKit scored them in mid 2024 without an LLM, of which the published figures come out exactly.
"""

from pathlib import Path
from typing import Any

from aiflow.bench.suites.vqa.suite import suite

NAME = "vqa"

__all__ = ["NAME", "answers", "recorded", "suite"]


def recorded(suite: str, data: Path | None = None) -> dict[str, Any]:
    """Scores every recorded model: ``{"suite": name, "models": {model: {published fields, "score", counts}}}``.

    ``suite``: a name of ``table``, in any spelling, with or without the split. ``data``: a file of answers, or a folder
    that holds one; None: the default folders. Raises UsageError for an unknown name, DataError for bad files.
    """
    from aiflow.bench.suites.vqa.figures import of_model
    from aiflow.bench.suites.vqa.sources import answered, chosen
    from aiflow.bench.suites.vqa.table import candidates
    from aiflow.errors import DataError

    benchmark, place = chosen(candidates(suite), data)
    models: dict[str, Any] = {}
    for rule, items in answered(benchmark, place):
        for model in dict.fromkeys(name for item in items for name in item.said):
            name = model if model not in models else f"{model}, {len(items)} questions"
            try:
                models[name] = of_model(rule, items, model)
            except DataError as error:
                raise DataError(f"{place}: {benchmark.name}, {model}: {error}") from error
    return {"suite": benchmark.name, "models": models}


def answers(suite: str, data: Path | None = None) -> dict[str, dict[str, tuple[str]]]:
    """Model -> question id -> its recorded answer, as ``aiflow.bench.subjects.Recorded`` takes it; missing: empty."""
    from aiflow.bench.suites.vqa.sources import answered, chosen
    from aiflow.bench.suites.vqa.table import candidates

    found: dict[str, dict[str, tuple[str]]] = {}
    for _, items in answered(*chosen(candidates(suite), data)):
        for item in items:
            for model, text in item.said.items():
                found.setdefault(model, {}).setdefault(item.id, (text or "",))
    return found
