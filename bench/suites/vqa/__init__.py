"""Questions about images, VLMEvalKit's suites: MME, SEED-Bench, MMBench, MMStar, OCRBench, MMMU, ChartQA and others.

Scored by rules, as VLMEvalKit scored them in mid 2024 without an LLM, of which the published figures come out exactly.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiflow.bench.judges.judge import Judge
    from aiflow.bench.suite import Suite

NAME = "vqa"


def recorded(suite: str, data: Path | None = None) -> dict[str, Any]:
    """Scores every recorded model: ``{"suite": name, "models": {model: {published fields, "score", counts}}}``.

    ``suite``: a name of ``table``, in any spelling, with or without the split. ``data``: a file of answers, or a folder
    that holds one; None: the default folders. Raises UsageError for an unknown name, DataError for bad files.
    """
    from aiflow.bench.suites.vqa.figures import of_model
    from aiflow.bench.suites.vqa.sources import answered, chosen
    from aiflow.bench.suites.vqa.table import candidates

    benchmark, place = chosen(candidates(suite), data)
    models: dict[str, Any] = {}
    for rule, items in answered(benchmark, place):
        for model in dict.fromkeys(name for item in items for name in item.said):
            name = model if model not in models else f"{model}, {len(items)} questions"
            models[name] = of_model(rule, items, model)
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


def suite(name: str, data: Path | None = None, judge: "Judge | None" = None, images: bool = True) -> "Suite":
    """The questions of a benchmark to be asked live, and its grader; ``judge`` matches what the rule cannot read.

    ``images``: only questions whose images are here are asked, and the summary counts those left out; False: all are,
    without images, which is for recorded answers. Raises UsageError, and DataError where no image is found.
    """
    from aiflow.bench.suites.vqa.sources import live
    from aiflow.bench.suites.vqa.suite import make
    from aiflow.bench.suites.vqa.table import candidates

    benchmark, rule, items = live(candidates(name), data, images)
    own = [item for item in items if item.images] if images else items
    return make(benchmark.name, rule, own, judge, left_out=len(items) - len(own))
