"""HPCD: the low-rank members on six text suites, beside the dense model they came from. Source: AI Flow, Table II."""

import sys
import time
from pathlib import Path
from typing import Any

from aiflow.bench.familial import read_tokenizer
from aiflow.bench.familial.estimates import Marks, Table, tabulate
from aiflow.collaboration.familial import nested
from aiflow.errors import InputError

FIRST = 0.38
"""The largest share of the largest member's parameters that the first one may have."""


def run(folder: Path, items: int, teacher: Path | None = None) -> dict[str, Any]:
    """Scores of all members on ``items`` items of each suite (two turns of one dialogue count as two items).

    ``teacher``: the dense model's folder; None takes the ``generalist`` beside ``folder``, if it is there.
    Returns ``hpcd``, the members smallest first, and ``hpcd_summary``. Raises WeightsError, and InputError for fewer
    than two items.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from aiflow.nano.family.evaluate import text

    if items < 2:
        raise InputError(f"{items} item of a suite is half a dialogue; ask for at least 2.")
    tokenizer = read_tokenizer(folder)
    levels = nested.members(folder)
    marks: list[Marks] = []

    def measure(name: str, model: Any) -> None:
        start = time.perf_counter()
        marks.append(text(model, tokenizer, items // 2))
        mean = sum(sum(values) / len(values) for values in marks[-1].values()) / len(marks[-1])
        print(f"hpcd {name}: {mean:.3f} · {time.perf_counter() - start:.0f} s", file=sys.stderr)

    for level in levels:
        measure(f"member {level.name}", nested.load(folder, level.name, torch.float32).eval())
    dense = teacher or folder.parent / "generalist"
    if (dense / "model.safetensors").is_file():
        measure("dense", AutoModelForCausalLM.from_pretrained(dense, dtype="float32").eval())
    return report(levels, tabulate(marks, tuple(marks[0])), _dense_parameters(folder), items)


def report(levels: list[nested.Level], table: Table, dense: int, items: int) -> dict[str, Any]:
    """The JSON of the members in ``table``; a row more than there are levels is the dense model."""
    suites = table.suites
    rows = [
        {
            "member": level.name,
            "parameters": level.parameters,
            "score": table.average(k, suites),
            "ci": table.mean(k, suites).ci,
            "share_of_largest": level.parameters / levels[-1].parameters,
            "share_of_dense": level.parameters / dense,
            "bytes": level.bytes,
            "suites": {name: table.average(k, [name]) for name in suites},
        }
        for k, level in enumerate(levels)
    ]
    steps = [table.difference(k + 1, k, suites) for k in range(len(levels) - 1)]
    summary: dict[str, Any] = {
        "items": items,
        "monotone": all(step.value > 0 for step in steps),
        "steps": [{"value": step.value, "ci": step.ci} for step in steps],
        "first_share_of_largest": levels[0].parameters / levels[-1].parameters,
        "first_share_of_dense": levels[0].parameters / dense,
        "met": all(step.value > 0 for step in steps) and levels[0].parameters <= FIRST * levels[-1].parameters,
        "dense": {"parameters": dense, "score": None, "ci": None},
    }
    if len(table.score_KS) > len(levels):
        k = len(levels)
        score = {"score": table.average(k, suites), "ci": table.mean(k, suites).ci}
        summary["dense"] |= score | {"suites": {name: table.average(k, [name]) for name in suites}}
    return {"hpcd": rows, "hpcd_summary": summary}


def _dense_parameters(folder: Path) -> int:
    """Parameters of the dense model, from the config that the members keep of it."""
    import json

    from transformers import AutoConfig

    from aiflow.collaboration.familial.counts import total

    base = json.loads((folder / "config.json").read_text())["base"]
    return total(type(AutoConfig.for_model(base["model_type"])).from_dict(base))


def show(result: dict[str, Any]) -> None:
    """Prints the table and what it says."""
    from aiflow.bench.familial.tables import show_hpcd

    show_hpcd(result)
