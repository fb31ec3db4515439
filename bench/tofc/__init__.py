"""``aiflow bench tofc``: what task-oriented feature compression saves, beside JPEG and WebP.

Parts: ``rate`` (accuracy against bytes, Fig. 4's form), ``latency`` (against the link's rate, Fig. 5's form),
``adaptation`` (changing links), ``speed``, ``fuzz``, and ``real`` (photographs, with ``--data``).
"""

import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiflow.errors import UnknownModelError, UsageError, suggest
from aiflow.nano import WEIGHTS

FAMILY = WEIGHTS / "family"
PARTS = ("rate", "latency", "adaptation", "speed", "fuzz", "real")
SEEN = {"rate", "latency", "adaptation"}
"""Parts that need a trained family with a codec."""


def main(
    *,
    parts: Sequence[str] = (),
    family: Path | None = None,
    items: int = 40,
    streams: int = 100_000,
    data: Path | None = None,
    plots: Path | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Measures the parts, prints their tables, and with ``json`` one JSON object as the last line of stdout.

    Args:
        parts: some of ``PARTS``; none given: all (``real`` only with ``data``).
        family: a folder with a codec in it; None: the one that ships.
        items: questions of each of the nine forms.
        streams: to fuzz.
        data: a folder with photographs, for ``real`` and ``latency``.
        plots: a folder for the figures.
        json: as said above.

    Raises UsageError for an unknown part or ``real`` without ``data``, UnknownModelError where the family is missing.
    """
    from aiflow.bench.provenance import provenance
    from aiflow.bench.tofc import tables

    for part in parts:
        if part not in PARTS:
            raise UsageError(f"part {part!r} is not measured; {suggest(part, list(PARTS))}")
    chosen = [p for p in PARTS if (p in parts if parts else p != "real" or data)]
    folder = family or FAMILY
    if SEEN & set(chosen) and not (folder / "tofc" / "model.safetensors").is_file():
        raise UnknownModelError(f"there is no feature codec in {folder}; train one with `aiflow train tofc`.")
    if "real" in chosen and data is None:
        raise UsageError("the part 'real' needs photographs; give a folder of them with --data.")
    result = _measured(chosen, folder, items, streams, data)
    for part in chosen:
        tables.show(part, result)
    if plots:
        from aiflow.bench.tofc.plots import draw

        result["figures"] = [str(path) for path in draw(result, plots)]
    if json:
        print(jsonlib.dumps(result | {"run": provenance()}), flush=True)
    return result


def _measured(chosen: Sequence[str], folder: Path, items: int, streams: int, data: Path | None) -> dict[str, Any]:
    from aiflow.bench.tofc import adaptation, latency, rate

    result: dict[str, Any] = {}
    if {"rate", "adaptation"} & set(chosen):
        found = rate.study(folder, items, only_streams="rate" not in chosen)
        if "rate" in chosen:
            result |= rate.report(found)
        if "adaptation" in chosen:
            times = latency.nano_times(folder)
            kept = [f for f in found.found if f.system.kind == "tofc"]
            result["adaptation"] = adaptation.run(kept, times)
    if "latency" in chosen:
        result |= latency.run(folder, data)
    if "speed" in chosen:
        from aiflow.bench.tofc.speed import speed

        result["speed"] = speed()
    if "fuzz" in chosen:
        from aiflow.bench.tofc.fuzz import fuzz

        result["fuzz"] = fuzz(streams, seed=0)
    if "real" in chosen and data:
        from aiflow.bench.tofc.real import real

        result["real"] = real(data)
    return result
