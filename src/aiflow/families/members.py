"""The members of a folder and what each costs, without loading weights; and the member that fits a budget.

Three kinds of folder: a family, a nested low-rank model, and a plain model, which shows what branches would give it.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiflow.errors import BudgetError, InputError
from aiflow.families import inputs
from aiflow.families.tables import percent, table
from aiflow.units import duration, show_bytes, size

KEEP = 0.75
"""Share that a branch of a plain model is shown with (the paper's)."""

Row = dict[str, Any]
_BLOCK = re.compile(r"backbone\.model\.(?:language_model\.)?layers\.(\d+)\.")
_FINAL = re.compile(r"backbone\.model\.(?:language_model\.)?norm\.")


def rows(folder: Path) -> list[Row]:
    """member, exit, keep, parameters, share, bytes (and here) of every member, smallest first."""
    kind = inputs.kind_of(folder)
    if kind == "aiflow_nested":
        return _levels(folder)
    return stored(folder) if kind == "aiflow_family" else _possible(folder)


def show(found: list[Row], *more: tuple[str, list[str]]) -> None:
    """Prints them, with further columns."""
    titles = ("member", "keep", "parameters", "share", "bytes to fetch", *(title for title, _ in more))
    lines = []
    for i, row in enumerate(found):
        keep = f"{row['keep']:.3f}" if isinstance(row["keep"], float) else row["keep"] or "-"
        cells = (row["member"], keep, f"{row['parameters']:,}", percent(row["share"]), show_bytes(row["bytes"]))
        lines.append((*cells, *(values[i] for _, values in more)))
    table(titles, lines)


def stored(folder: Path) -> list[Row]:
    """Members of a family: what the file's header says of them. ``keep`` is a share, "dense", or None."""
    from aiflow.collaboration.familial.files import WEIGHTS, describe
    from aiflow.collaboration.familial.store import Reader

    kept, reader = describe(folder), Reader(folder / WEIGHTS)
    ends = [0, *(reader.end(name) for name in reader.names)]
    sizes = {name: after - before for name, before, after in zip(reader.names, ends, ends[1:], strict=False)}
    depth = _depth(kept.backbone)
    found: list[Row] = []
    for exit_ in (*sorted(kept.branches), depth):
        shape = kept.branches.get(exit_)
        read = [name for name in reader.names if _reads(name, exit_)]
        used = [name for name in read if not (shape and _replaced(name, shape))]
        keep = None if shape is None else _share(reader, exit_) if shape.low_rank else "dense"
        count = sum(_numel(reader.shape(name)) for name in used)
        found.append({"member": str(exit_), "exit": exit_, "keep": keep, "parameters": count})
        found[-1]["bytes"] = sum(sizes[name] for name in read)
    for row in found:
        row["share"] = row["parameters"] / found[-1]["parameters"]
    return found


def _depth(config: Mapping[str, Any]) -> int:
    return int(config.get("text_config", config)["num_hidden_layers"])


def _reads(name: str, exit_: int) -> bool:
    block = _BLOCK.match(name)
    return int(block[1]) < exit_ if block else name.startswith(("backbone.", f"branches.{exit_}."))


def _replaced(name: str, shape: Any) -> bool:
    """Whether a branch's own norm or head stands in for this tensor."""
    return bool(shape.norm and _FINAL.match(name)) or (shape.head and name == "backbone.lm_head.weight")


def _share(reader: Any, exit_: int) -> float:
    prefix = f"branches.{exit_}."
    whole = [name.removesuffix(".u") for name in reader.names if name.startswith(prefix) and name.endswith(".u")]
    shapes = [(*reader.shape(f"{name}.u"), reader.shape(f"{name}.v")[1]) for name in whole]
    share: float = sum(h * (m + n) for h, m, n in shapes) / sum(m * n for _, m, n in shapes)
    return share


def _numel(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def _possible(folder: Path) -> list[Row]:
    from aiflow.collaboration.familial import counts

    config = inputs.config_of(folder)
    depth, full, found = counts.depth(config), counts.total(config), []
    for exit_ in range(1, depth + 1):
        keep = KEEP if exit_ < depth else None
        count = counts.member(config, exit_, keep)
        name = str(exit_) if keep is None else f"{exit_}:{keep:g}"
        found.append({"member": name, "exit": exit_, "keep": keep, "parameters": count})
        found[-1] |= {"share": count / full, "bytes": 2 * count}
    return found


def _levels(folder: Path) -> list[Row]:
    from aiflow.collaboration.familial import nested

    levels, full = nested.members(folder), full_size(folder)
    return [
        {"member": x.name, "keep": None, "parameters": x.parameters, "share": x.parameters / full, "bytes": x.bytes}
        for x in levels
    ]


def full_size(folder: Path) -> int:
    """Parameters of the dense model that a nested one was made of; 0 for any other folder."""
    base = json.loads((folder / "config.json").read_text()).get("base")
    if base is None:
        return 0
    from transformers import AutoConfig

    from aiflow.collaboration.familial.counts import total

    return total(AutoConfig.for_model(base.pop("model_type"), **base))


def budget(parameters: str | None, memory: str | None, latency: str | None) -> dict[str, Any]:
    """The one budget that is given, as an argument of `solver.solve`; {} for none. Raises UsageError."""
    given = {"parameters": parameters, "memory_bytes": memory, "latency_s": latency}
    read: dict[str, Any] = {"parameters": inputs.count, "memory_bytes": lambda x: int(size(x)), "latency_s": duration}
    found = {name: read[name](value) for name, value in given.items() if value is not None}
    if len(found) > 1:
        raise InputError("--parameters, --memory and --latency are three kinds of budget; give one of them.")
    return found


def choose(name: str, folder: Path, found: list[Row], wanted: Mapping[str, Any]) -> Row:
    """The largest member within a budget. A latency is measured on this node. Raises BudgetError, InputError."""
    kind = inputs.kind_of(folder)
    if kind == "aiflow_family":
        from aiflow.collaboration.familial.family import Family

        family = Family.from_pretrained(folder)
        if all(_simple(branch) for branch in family.branches.values()):
            keeps = {int(e): branch.keep for e, branch in family.branches.items()}
            return _solved(family, family.backbone.config, wanted, keeps, _bytes_each(found))
    elif kind != "aiflow_nested":
        return _solved(None if "latency_s" not in wanted else _trial(name), inputs.config_of(folder), wanted, None, 2)
    return _listed(found, wanted)


def _simple(branch: Any) -> bool:
    """Whether the solver's arithmetic holds: one low-rank block before the backbone's own norm and head."""
    return bool(branch.low_rank and len(branch.blocks) == 1 and branch.norm is None and branch.head is None)


def _bytes_each(found: list[Row]) -> int:
    return max(1, round(int(found[-1]["bytes"]) / int(found[-1]["parameters"])))


def _solved(family: Any, config: Any, wanted: Mapping[str, Any], keeps: Any, each: int) -> Row:
    from aiflow.collaboration.familial.solver import measure, solve

    exits = None if keeps is None else list(keeps)
    more: dict[str, Any] = {}
    if "latency_s" in wanted:
        there = {int(e): b.keep for e, b in family.branches.items()}
        if not there:
            raise InputError("this family has no branch to time; use --parameters or --memory.")
        middle = sorted(there)[len(there) // 2]
        more["profile"] = measure(family, exit=middle, keep=there[middle])
    plan = solve(config, **wanted, bytes_per_parameter=each, exits=exits, keep_max=keeps, **more)
    member = str(plan.exit) if plan.keep is None else f"{plan.exit}:{plan.keep!r}"
    chosen: Row = {"member": member, "parameters": plan.parameters, "ranks": dict(plan.ranks)}
    if more:
        chosen["seconds_per_token"] = more["profile"].latency(plan.exit, plan.keep)
    return chosen


def _trial(name: str) -> Any:
    """A plain model with one branch, to be timed; its quality does not matter, so plain SVD will do."""
    from aiflow.agents.backends.transformers.loading import load
    from aiflow.collaboration.familial.branching import initialise
    from aiflow.collaboration.familial.family import Family

    family = Family(load(name, device="cpu", dtype="auto", max_context=None).model)
    initialise(family, {max(1, family.depth // 2): KEEP}, [], whiten=False)
    return family


def _listed(found: list[Row], wanted: Mapping[str, Any]) -> Row:
    if "latency_s" in wanted:
        raise InputError("a latency is measured for families of low-rank branches only; use --parameters or --memory.")
    key, limit = ("parameters", wanted["parameters"]) if "parameters" in wanted else ("bytes", wanted["memory_bytes"])
    fitting = [row for row in found if row[key] <= limit]
    if not fitting:
        least = min(found, key=lambda row: int(row[key]))
        raise BudgetError(
            f"{limit:,} {key} are too few: the smallest member, {least['member']}, has {least[key]:,}; raise it."
        )
    best = max(fitting, key=lambda row: int(row["parameters"]))
    return {"member": best["member"], "parameters": best["parameters"]}
