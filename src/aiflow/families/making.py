"""Makes families and nested models, and trains families. Inputs are checked before anything that takes long.

Source: AI Flow, sections III-A1 and III-B2. Legend: B rows, T tokens.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aiflow.errors import BudgetError, InputError
from aiflow.families import inputs
from aiflow.families.members import show, stored
from aiflow.families.tables import end, percent, say, table
from aiflow.units import show_bytes

ROWS = 8
"""Texts that share a forward pass."""


def decompose(
    model: str,
    out: Path,
    *,
    texts: Path,
    keep: str | None,
    parameters: str | None,
    ranks: str,
    plain: bool,
    sequential: bool,
    storage: str | None,
    length: int,
    json: bool,
) -> None:
    """Writes nested low-rank members of a model and prints a table of them."""
    folder, adapter = inputs.folder_of(model)
    inputs.one_of("ranks", ranks, ("greedy", "uniform"))
    if storage is not None:
        inputs.one_of("storage", storage, inputs.STORAGES)
    config = inputs.config_of(folder)
    levels = _levels(config, keep, parameters)
    inputs.apart(folder, out)
    rows = inputs.Tokens(folder).rows(inputs.texts(texts), length)
    from aiflow.collaboration.familial.counts import total
    from aiflow.collaboration.familial.decompose import Method
    from aiflow.collaboration.familial.decompose import decompose as run

    chosen: Any = {"ranks": ranks, "whitening": "plain" if plain else "whitened", "sequential": sequential}
    batches = [inputs.Tokens.padded(rows[i : i + ROWS]) for i in range(0, len(rows), ROWS)]
    kind: Any = storage
    report = run(
        folder if adapter is None else _model(model),
        out,
        batches,
        levels=levels,
        method=Method(**chosen),
        storage=kind,
        progress=lambda done, total, what: say(f"{what} ({done} of {total} done)"),
    )
    inputs.companions(folder, out)
    _show_levels(report, total(config))
    end(report, json)


def _show_levels(report: dict[str, Any], full: int) -> None:
    matrices, rows = report["matrices"], []
    for k, level in enumerate(report["levels"]):
        loss = sum(m["loss"][k] for m in matrices) / len(matrices)
        size = (f"{level['parameters']:,}", percent(level["parameters"] / full), show_bytes(level["bytes"]))
        rows.append((level["name"], *size, f"{loss:.4f}"))
    table(("level", "parameters", "share", "bytes to fetch", "mean relative loss"), rows)
    shapes = [f"{m['shape'][0]}x{m['shape'][1]}" for m in matrices]
    spent = [(s, str(shapes.count(s)), f"{t:.4f}") for s, t in report["seconds_per_shape"].items()]
    table(("shape", "matrices", "seconds each"), spent)


def _levels(config: Any, keep: str | None, parameters: str | None) -> list[float]:
    """Kept shares of the block linears, ascending."""
    if parameters is None:
        return inputs.shares("0.2,0.4,0.6" if keep is None else keep)
    if keep is not None:
        raise InputError("--keep and --parameters both say how large the members are; give one of them.")
    from aiflow.collaboration.familial import counts

    sizes, depth = counts.shapes(config).values(), counts.depth(config)
    rest = counts.fixed(config) + depth * counts.norms(config)
    least, full = rest + depth * sum(m + n for m, n in sizes), counts.total(config)
    found = []
    for wanted in sorted(map(inputs.count, parameters.split(","))):
        if wanted < least:
            raise BudgetError(f"{wanted:,} parameters are too few: the smallest member has {least:,}; raise it.")
        if wanted >= full:
            raise BudgetError(f"{wanted:,} parameters hold the whole model, which has {full:,}; lower it.")
        share = (wanted - rest) / (depth * sum(m * n for m, n in sizes))
        found.append(min(1.0, int(share * 1e6) / 1e6))  # rounded down; it is the level's name, too
    return found


def branch(
    model: str, out: Path, *, texts: Path, exits: str, keep: float, storage: str, length: int, json: bool
) -> None:
    """Writes a family: the model with a branch at each exit, made of the next block by whitened SVD."""
    folder, _ = inputs.folder_of(model)
    inputs.one_of("storage", storage, inputs.STORAGES)
    wanted = inputs.numbers("exits", exits)
    _check_branches(inputs.config_of(folder), wanted, keep)
    inputs.apart(folder, out)
    rows = inputs.Tokens(folder).rows(inputs.texts(texts), length)
    from aiflow.collaboration.familial.branching import Calibration, initialise
    from aiflow.collaboration.familial.family import Family

    family = Family(_model(model))
    say(f"{len(wanted)} branches from {sum(map(len, rows)):,} calibration tokens")
    parts = (inputs.Tokens.padded(rows[i : i + ROWS]) for i in range(0, len(rows), ROWS))
    report = initialise(family, dict.fromkeys(wanted, keep), (Calibration.of_ids(family, *part) for part in parts))
    family.save_pretrained(out, storage=storage)
    inputs.companions(folder, out)
    found = stored(out)
    for row in found:
        losses = report[row["exit"]]["loss"].values() if row["exit"] in report else None
        row["loss"] = None if losses is None else sum(losses) / len(losses)
    show(found, ("mean relative loss", ["-" if r["loss"] is None else f"{r['loss']:.4f}" for r in found]))
    end({"members": found}, json)


def _check_branches(config: Any, exits: Sequence[int], keep: float) -> None:
    """Says what `initialise` would say, before the weights are loaded."""
    from aiflow.collaboration.familial import counts

    depth = counts.depth(config)
    for exit_ in exits:
        if not 1 <= exit_ < depth:
            raise InputError(f"exit {exit_} is not usable; a model of {depth} blocks has the exits 1 to {depth - 1}.")
    counts.branch(config, keep)


def _model(name: str) -> Any:
    from aiflow.agents.backends.transformers.loading import load

    return load(name, device="cpu", dtype="float32", max_context=None).model


def train(
    name: str,
    out: Path,
    *,
    texts: Path,
    mode: str,
    lora_rank: int,
    steps: int,
    lr: float,
    batch: int,
    select: str,
    per_step: int,
    partial: Sequence[str],
    seed: int,
    resume: bool,
    storage: str,
    length: int,
    json: bool,
) -> None:
    """Trains a family on texts and writes the result; a killed run goes on from OUT/checkpoints."""
    run = {key: value if isinstance(value, int | float) else str(value) for key, value in locals().items()}
    folder = inputs.plain_folder(name)
    inputs.one_of("mode", mode, ("frozen", "lora", "full"))
    inputs.one_of("select", select, ("all", "random", "round-robin", "loss"))
    inputs.one_of("storage", storage, inputs.STORAGES)
    inputs.apart(folder, out)
    lines = inputs.texts(texts)
    import torch

    from aiflow.collaboration.familial import training
    from aiflow.collaboration.familial.family import Family
    from aiflow.fitting import Recipe

    family = Family.from_pretrained(folder, dtype=torch.float32)
    members = _learners(family, mode, partial)
    kind: Any = select
    choose = training.selection(kind, members, count=len(members) if select == "all" else per_step, seed=seed)
    data = _data(texts, inputs.Tokens(folder).rows(lines, length), batch, seed)
    inputs.same_run(out / "checkpoints", run, resume)
    torch.manual_seed(seed)  # adapters start from random numbers
    how: Any = mode
    training.prepare(family, how, rank=lora_rank)
    fitted = training.fit_family(
        family,
        data,
        Recipe(steps=steps, lr=lr, warmup=max(1, min(50, steps // 10)), every=max(1, min(200, steps // 10))),
        choose,
        checkpoint=out / "checkpoints" / "family.pt",
        resume=resume,
        progress=lambda _stage, step, of, loss: say(f"step {step} of {of}: loss {loss:.4f} nats per token"),
    )
    training.merge(family)
    family.save_pretrained(out, storage=storage)
    inputs.companions(folder, out)
    sized = sorted((family.count(m), str(m), loss) for m, loss in fitted.losses.items())
    table(("member", "parameters", "last loss"), [(m, f"{n:,}", f"{loss:.4f}") for n, m, loss in sized])
    trained = [{"member": m, "parameters": n, "loss": loss} for n, m, loss in sized]
    end({"members": trained, **fitted.state}, json)


def _learners(family: Any, mode: str, partial: Sequence[str]) -> list[Any]:
    """The members to train; a frozen full model cannot learn. Raises InputError."""
    from aiflow.collaboration.familial.family import Member

    members = [m for m, _ in family.members() if mode != "frozen" or m.exit != family.depth]
    members += [Member.parse(text) for text in partial]
    if not members:
        raise InputError("this family has no branches, and a frozen backbone does not learn; use --mode lora or full.")
    for member in members:
        family.branch(member)  # raises InputError for an exit or a share that is not there
    return members


def _data(file: Path, rows: list[list[int]], batch: int, seed: int) -> Callable[[int], Iterator[Any]]:
    """Batches of texts drawn at random, the same for the same step."""
    usable = [row for row in rows if len(row) > 1]
    if not usable:
        raise InputError(f"{str(file)!r} has no text of two tokens or more; there is nothing to predict.")
    from aiflow.collaboration.familial.training import TextBatch

    def data(start: int) -> Iterator[Any]:
        for step in itertools.count(start):
            rng = random.Random(f"{seed} {step}")
            ids_BT, mask_BT = inputs.Tokens.padded([rng.choice(usable) for _ in range(batch)])
            yield TextBatch.of(ids_BT, mask_BT.float())

    return data


def convert(source: Path, out: Path, *, storage: str, json: bool) -> None:
    """Writes a released family (AI-Flow-Ruyi, Ruyi2) in aiflow's own layout."""
    folder = inputs.plain_folder(str(source))
    inputs.one_of("storage", storage, inputs.STORAGES)
    inputs.apart(folder, out)
    from aiflow.collaboration.familial import ruyi

    ruyi.convert(folder).save_pretrained(out, storage=storage)
    inputs.companions(folder, out)
    found = stored(out)
    show(found)
    end({"members": found}, json)
