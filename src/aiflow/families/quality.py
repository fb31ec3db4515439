"""Quality of every member on texts: bits per token, perplexity, information capacity; and the plot of them by size.

Legend: B rows, T tokens. Source: AI Flow, Fig. 9; information capacity: arXiv 2511.08066.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aiflow.errors import InputError
from aiflow.families import inputs
from aiflow.families.members import full_size

LOGITS = 1 << 26
"""Logits in memory at once: 256 MB in float32."""

LINES = {"branch": ("o", "-", "#0f8a5f"), "early exit": ("s", "--", "#c2571a"), "nested": ("o", "-", "#2f7fb8")}


def measure(folder: Path, texts: Sequence[str], *, length: int, say: Callable[[str], None]) -> dict[str, Any]:
    """By member: line ("branch", "early exit", "nested", "full"), parameters, share, bits, perplexity, capacity.

    Capacity is taken on the texts of at least ``capacity_length`` tokens, the largest power of two that half of the
    texts reach; None where that is below two tokens. Raises InputError for texts without anything to predict.
    """
    tokens = inputs.Tokens(folder)
    every = tokens.rows(texts, length)
    rows = sorted((row for row in every if len(row) > 1), key=len)
    if not rows:
        raise InputError("no text has two tokens or more; there is nothing to predict.")
    span = 1 << (len(rows[len(rows) // 2]).bit_length() - 1)
    long = [text for text, row in zip(texts, every, strict=True) if len(row) >= span]
    found: list[dict[str, Any]] = []
    for line, name, count, model in _models(folder):
        say(f"{line} {name}: {count:,} parameters")
        bits = _bits(model, rows, tokens.vocabulary)
        row: dict[str, Any] = {"member": name, "line": line, "parameters": count, "bits": bits, "perplexity": 2**bits}
        found.append(row | {"capacity": _capacity(model, tokens.tokenizer, long, span)})
    full = full_size(folder) or max(row["parameters"] for row in found)
    for row in found:
        row["share"] = row["parameters"] / full
    predicted = sum(len(row) - 1 for row in rows)
    return {"members": found, "tokens": predicted, "texts": len(rows), "capacity_length": span}


def _models(folder: Path) -> Iterator[tuple[str, str, int, Any]]:
    """(line, name, parameters, model), one model of a nested folder at a time."""
    import torch

    if inputs.kind_of(folder) == "aiflow_nested":
        from aiflow.collaboration.familial import nested

        for level in nested.members(folder):
            yield "nested", level.name, level.parameters, nested.load(folder, level.name, torch.float32)
        return
    from aiflow.collaboration.familial.family import Member

    family = _family(folder)
    branches = family.exits[:-1]
    bare = [Member(exit=e, keep=0) for e in branches or range(1, family.depth)]
    lines = [("early exit", m) for m in bare] + [("branch", Member(exit=e)) for e in branches]
    for line, member in [*lines, ("full", Member(exit=family.depth))]:
        yield line, str(member), family.count(member), family.member(member)


def _family(folder: Path) -> Any:
    import torch

    from aiflow.collaboration.familial.family import Family

    if inputs.kind_of(folder) == "aiflow_family":
        return Family.from_pretrained(folder, dtype=torch.float32)
    from aiflow.agents.backends.transformers.loading import load

    inputs.config_of(folder)
    return Family(load(str(folder), device="cpu", dtype="float32", max_context=None).model)


def _bits(model: Any, rows: Sequence[Sequence[int]], vocabulary: int) -> float:
    """Bits per predicted token. Padding stands on the right, where a causal model does not see it."""
    from aiflow.collaboration.familial.capacity import token_bits

    at, total, predicted = 0, 0.0, 0
    while at < len(rows):
        height = max(1, LOGITS // (len(rows[min(at + 7, len(rows) - 1)]) * vocabulary))
        ids_BT, mask_BT = inputs.Tokens.padded(rows[at : at + min(8, height)])
        counted_BT = mask_BT[:, 1:]
        total += float(token_bits(model, ids_BT, vocabulary=vocabulary)[counted_BT].double().sum())
        predicted += int(counted_BT.sum())
        at += len(ids_BT)
    return total / predicted


def _capacity(model: Any, tokenizer: Any, texts: Sequence[str], length: int) -> float | None:
    from aiflow.collaboration.familial.capacity import capacity

    return None if length < 2 else capacity(model, tokenizer, texts, length).value


def draw(found: Sequence[dict[str, Any]], file: Path) -> None:
    """Bits per token by parameters; each line ends in the full model where there is one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    full = [row for row in found if row["line"] == "full"]
    scale, unit = (1e9, "billion") if max(row["parameters"] for row in found) >= 1e9 else (1e6, "million")
    for line, (marker, stroke, colour) in LINES.items():
        own = sorted((row for row in found if row["line"] == line), key=lambda row: int(row["parameters"]))
        if own:
            x = [row["parameters"] / scale for row in [*own, *full]]
            y = [row["bits"] for row in [*own, *full]]
            title = {"branch": "with branches", "early exit": "early exit without branch"}.get(line, "nested levels")
            axes.plot(x, y, marker=marker, linestyle=stroke, color=colour, label=title)
    for row in full:
        axes.plot(
            row["parameters"] / scale, row["bits"], marker="*", markersize=13, color="#222222", label="full model"
        )
    axes.set_xlabel(f"parameters, {unit}")
    axes.set_ylabel("bits per token (lower is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=200)
