"""``aiflow bench familial``: what the techniques of familial models give on the family that ships.

Parts: ``eesb`` (quality of all members, beside early exit without branches), ``hpcd`` (low-rank members), ``capacity``
(information capacity of any member), ``svd``, ``memory`` and ``serving``. Each is a module here with ``run`` and
``show``.
"""

import json as jsonlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiflow.errors import UnknownModelError, UsageError, suggest
from aiflow.nano import WEIGHTS

FAMILY, HPCD = WEIGHTS / "family", WEIGHTS / "hpcd"
"""Where the family and the low-rank members lie that ship."""
PARTS = ("eesb", "hpcd", "capacity", "svd", "memory", "serving")
SEEING = ("eesb", "capacity", "serving")
"""Parts that need a trained vision family."""
WEIGHTS_FILE = "model.safetensors"
SLOW = ("memory",)
"""Parts that take minutes; only on request."""
ITEMS = 200
"""Items of each form or suite."""


def main(
    *,
    parts: Sequence[str] = (),
    everything: bool = False,
    limit: int | None = None,
    family: Sequence[Path] = (),
    hpcd: Path | None = None,
    plots: Path | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Measures the parts, prints their tables, and with ``json`` one JSON object as the last line of stdout.

    Args:
        parts: some of ``PARTS``; none given: all but the slow ones.
        everything: all parts.
        limit: items of each form and suite.
        family: folders of families trained with several seeds; none given: the one that ships.
        hpcd: the folder of low-rank members.
        plots: a folder for the figures.
        json: as said above.

    Raises UsageError for an unknown part, UnknownModelError where weights are missing, WeightsError for damaged ones.
    """
    from aiflow.bench.provenance import provenance

    families, low_rank = [Path(f) for f in family] or [FAMILY], hpcd or HPCD
    chosen = _chosen(parts, everything)
    if not (parts or everything or family) and not (FAMILY / WEIGHTS_FILE).is_file():
        chosen = [part for part in chosen if part not in SEEING]
        print(f"left out: {', '.join(SEEING)}; `aiflow train family` makes the family they measure.", file=sys.stderr)
    _check(chosen, families, low_rank)
    measure = _measures(ITEMS if limit is None else limit, families, low_rank)
    result: dict[str, Any] = {"items": ITEMS if limit is None else limit, "families": [str(f) for f in families]}
    for part in chosen:
        result |= measure[part]()
    if plots:
        from aiflow.bench.familial.plots import draw

        result["figures"] = [str(path) for path in draw(result, plots)]
    if json:
        print(jsonlib.dumps(result | {"run": provenance()}), flush=True)
    return result


def folder(path: Path, what: str) -> Path:
    """``path``, if there are weights in it. Raises UnknownModelError."""
    if not (path / WEIGHTS_FILE).is_file():
        raise UnknownModelError(f"there are no weights of {what} in {path}; make them with `aiflow train family`.")
    return path


def read_tokenizer(path: Path) -> Any:
    """The tokenizer of a family or of low-rank members; transformers' automatic classes do not know their kinds."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(path)


def _chosen(parts: Sequence[str], everything: bool) -> list[str]:
    for part in parts:
        if part not in PARTS:
            raise UsageError(f"part {part!r} is not measured; {suggest(part, list(PARTS))}")
    wanted = parts or [p for p in PARTS if everything or p not in SLOW]
    return [p for p in PARTS if p in wanted or everything]


def _check(parts: Sequence[str], families: Sequence[Path], hpcd: Path) -> None:
    """Before anything slow: are the weights there?"""
    if set(SEEING) & set(parts):
        for path in families:
            folder(path, "a family")
    if {"hpcd", "capacity"} & set(parts):
        folder(hpcd, "low-rank members")


def _measures(items: int, families: Sequence[Path], hpcd: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    from aiflow.bench.familial import capacity, eesb, memory, serving, svd
    from aiflow.bench.familial import hpcd as levels

    def shown(module: Any, found: dict[str, Any]) -> dict[str, Any]:
        module.show(found)
        return found

    return {
        "eesb": lambda: shown(eesb, eesb.run(families, items)),
        "hpcd": lambda: shown(levels, levels.run(hpcd, items)),
        "capacity": lambda: shown(capacity, capacity.run(families[0], hpcd, items)),
        "svd": lambda: {"svd": shown(svd, svd.run())},
        "memory": lambda: {"memory": shown(memory, memory.run())},
        "serving": lambda: {"serving": shown(serving, serving.run(families[0]))},
    }


__all__ = ["FAMILY", "HPCD", "PARTS", "folder", "main", "read_tokenizer"]
