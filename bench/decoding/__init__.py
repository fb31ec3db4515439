"""``aiflow bench decoding``: what collaborative decoding gives, on the clock of the wall and over simulated links.

Parts: ``speed`` (one process, beside transformers), ``tiers`` (one to three on paced nodes), ``devices`` (many at one
verifier), ``bytes``; in simulated time ``lengths`` (Fig. 6's form), ``pipeline``, ``adaptive`` and ``breakeven``.
"""

import json as jsonlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.errors import UnknownModelError, UsageError, suggest
from aiflow.nano import WEIGHTS

if TYPE_CHECKING:
    from aiflow.collaboration.familial.family import Member

FAMILY = WEIGHTS / "family"
PARTS = ("speed", "tiers", "devices", "bytes", "lengths", "pipeline", "adaptive", "breakeven")
SEEN = {"speed", "tiers", "devices"}
"""Parts that need a trained family."""
DRAFTS = ("1:0", "1", "2:0", "2")
"""Members that are tried as drafters; the fastest counts."""
MEMBERS = ("1", "4", "8")
"""Device, edge and cloud of ``tiers``."""
ALPHA = 0.76
"""Acceptance fitted to the paper's Fig. 6; that of the device's member is measured where the family is there."""


def main(
    *,
    parts: Sequence[str] = (),
    family: Path | None = None,
    prompts: int = 48,
    tokens: int = 2000,
    plots: Path | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Measures the parts, prints their tables, and with ``json`` one JSON object as the last line of stdout.

    Args:
        parts: some of ``PARTS``; none given: all.
        family: a folder; None: the one that ships. With a drafter in it, that is used.
        prompts: of the parts that run models.
        tokens: of each simulated session.
        plots: a folder for the figures.
        json: as said above.

    Raises UsageError for an unknown part, UnknownModelError where the family is missing.
    """
    from aiflow.bench.decoding import tables
    from aiflow.bench.provenance import provenance

    for part in parts:
        if part not in PARTS:
            raise UsageError(f"part {part!r} is not measured; {suggest(part, list(PARTS))}")
    chosen = [p for p in PARTS if not parts or p in parts]
    folder = family or FAMILY
    if SEEN & set(chosen) and not (folder / "model.safetensors").is_file():
        raise UnknownModelError(f"there is no family in {folder}; make one with `aiflow train family`.")
    result: dict[str, Any] = {}
    for part, measure in _measures(folder, prompts, tokens).items():
        if part in chosen:
            result[part] = measure()
            tables.show(part, result[part])
    result |= _headline(result)
    if plots:
        from aiflow.bench.decoding.plots import draw

        result["figures"] = [str(path) for path in draw(result, plots)]
    if json:
        print(jsonlib.dumps(result | {"run": provenance()}), flush=True)
    return result


def _measures(folder: Path, prompts: int, tokens: int) -> dict[str, Callable[[], Any]]:
    from aiflow.bench.decoding import curves, devices, sizes, speed, tiers
    from aiflow.collaboration.familial.drafter import FOLDER
    from aiflow.collaboration.familial.family import Member

    drafter = folder / FOLDER if (folder / FOLDER / "config.json").is_file() else None
    drafts = [Member.parse(m) for m in DRAFTS]
    three = [Member.parse(m) for m in MEMBERS]
    return {
        "speed": lambda: speed.run(folder, drafts, drafter=drafter, prompts=prompts),
        "tiers": lambda: [tiers.run(folder, three, prompts=max(2, prompts // 4), pace=pace) for pace in tiers.SECONDS],
        "devices": lambda: devices.run(folder),
        "bytes": sizes.run,
        "lengths": lambda: [curves.lengths(alpha, tokens) for alpha in (ALPHA, *_measured(folder, three[0], prompts))],
        "pipeline": lambda: curves.pipeline(tokens),
        "adaptive": lambda: curves.adaptive(tokens),
        "breakeven": lambda: curves.break_even(tokens),
    }


def _measured(folder: Path, device: "Member", prompts: int) -> list[float]:
    from aiflow.bench.decoding import speed

    there = (folder / "model.safetensors").is_file()
    return [speed.accepted(folder, device, prompts)] if there else []


def _headline(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if speed := result.get("speed"):
        found |= {k: speed[k] for k in ("vs_target", "vs_assisted", "acceptance", "mean_accepted", "equal_text")}
    if tiers := result.get("tiers"):
        found["three_tier_vs_cloud"] = tiers[0]["three_tier_vs_cloud"]
        found["equal_text"] = found.get("equal_text", True) and all(row["equal_text"] for row in tiers)
    return found
