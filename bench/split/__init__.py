"""``aiflow bench split``: what split inference gives over links, and what survives when they are down.

Parts: ``outages`` (100 seeds: texts, tokens and server states), ``latency`` (over rates, beside each side alone) and
``bytes`` (messages, and from which rate on activations pay). Links and time are simulated, models and messages real.
"""

import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiflow.errors import UnknownModelError, UsageError, suggest
from aiflow.nano import WEIGHTS

FAMILY = WEIGHTS / "family"
PARTS = ("outages", "latency", "bytes")


def main(
    *, parts: Sequence[str] = (), family: Path | None = None, seeds: int = 100, json: bool = False
) -> dict[str, Any]:
    """Measures the parts, prints their tables, and with ``json`` one JSON object as the last line of stdout.

    Args:
        parts: some of ``PARTS``; none given: all.
        family: a folder; None: the one that ships.
        seeds: of the outages.
        json: as said above.

    Raises UsageError for an unknown part, UnknownModelError where the family is missing.
    """
    from aiflow.bench.provenance import provenance
    from aiflow.bench.split import latency, outages, sizes, tables

    for part in parts:
        if part not in PARTS:
            raise UsageError(f"part {part!r} is not measured; {suggest(part, list(PARTS))}")
    chosen = [p for p in PARTS if not parts or p in parts]
    folder = family or FAMILY
    if set(chosen) - {"bytes"} and not (folder / "model.safetensors").is_file():
        raise UnknownModelError(f"there is no family in {folder}; make one with `aiflow train family`.")
    measures = {
        "outages": lambda: outages.run(folder, seeds=seeds),
        "latency": lambda: latency.run(folder),
        "bytes": sizes.run,
    }
    result: dict[str, Any] = {}
    for part in chosen:
        result[part] = measures[part]()
        tables.show(part, result[part])
    if found := result.get("outages"):
        lossless = found["policies"][0]
        result |= {name: lossless[name] for name in ("equal_text", "equal_state", "lost_tokens")}
    if json:
        print(jsonlib.dumps(result | {"run": provenance()}), flush=True)
    return result
