"""Whitened SVD of a whole model, block by block: peak memory is that of one block, whatever the depth.

Source: AI Flow, section III-A1; SVD-LLM (arXiv 2403.07378). Only the seven linears of each decoder block change;
embeddings, LM head, norms, biases and vision parts are copied as they are. Factors wait in a temporary file per block
until all ranks are known; then `nested` writes the members.

``sequential``: a block is profiled on what the *compressed* blocks before it give, not the original ones, so that
later blocks make up for earlier errors; the blocks compressed with the ranks of the largest member carry the
activations on. With greedy ranks the spectra come from a first pass over the original model and the factors from a
second, sequential one. ``refit`` then solves u anew for each linear, in order, by least squares against the outputs of
the original model: first the rows of the smallest member, then those that each larger one adds, for what is left.

Legend: H components, M outputs, N inputs.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from aiflow.collaboration.familial.checkpoint import Checkpoint, open_checkpoint
from aiflow.collaboration.familial.checkpoint_blocks import Factoring, Row
from aiflow.collaboration.familial.checkpoint_walk import Batch, Stream, check, load_block, shell
from aiflow.collaboration.familial.linear import rank_of
from aiflow.collaboration.familial.nested import Level, check_levels, linears, save
from aiflow.collaboration.familial.ranks import Matrix, nested
from aiflow.collaboration.familial.store import STORAGES, Reader, Storage
from aiflow.errors import InputError

Progress = Callable[[int, int, str], None]
Share = float | Mapping[str, int]
"""A level: the kept share of the linears' parameters, or the rank of every linear by its full name."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """How to factor. ``weight``: what greedy ranks minimise, the sum of relative or of raw losses."""

    ranks: Literal["uniform", "greedy"] = "uniform"
    weight: Literal["relative", "raw"] = "relative"
    whitening: Literal["whitened", "plain"] = "whitened"
    sequential: bool = False
    refit: bool = False

    def __post_init__(self) -> None:
        choices = {"ranks": ("uniform", "greedy"), "weight": ("relative", "raw"), "whitening": ("whitened", "plain")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name}={getattr(self, name)!r} is unknown; use {' or '.join(map(repr, known))}.")
        if self.refit and not self.sequential:
            raise InputError("refit=True needs sequential=True; without it every linear is already at its optimum.")
        if self.sequential and self.whitening == "plain" and not self.refit:
            raise InputError("sequential=True has no effect on plain SVD, which sees no activations; leave it out.")


def decompose(
    source: Any,
    out: Path | str,
    calibration: Iterable[Batch],
    *,
    levels: Sequence[Share] = (0.5,),
    method: Method | None = None,
    storage: Storage | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes a nested model (`nested.load` reads it) and ``decomposition.json``, the report that it returns.

    Args:
        source: folder of a transformers model (safetensors), or the model.
        out: new folder.
        calibration: token ids (B, T) or input embeddings (B, T, D), each with a mask (B, T) or None.
        levels: members, smallest first. A number is the kept share of the block linears' parameters: of each one
            (uniform ranks) or of all together (greedy). A mapping gives ranks by full name, such as
            "model.layers.0.mlp.up_proj".
        method: see `Method`.
        storage: of the factors; None: the dtype of the source's linears. All else keeps its own dtype.
        progress: called with (blocks done, blocks in all, what is being done).

    Raises:
        UnsupportedModelError: the architecture is not known here.
        WeightsError: the source is incomplete or damaged.
        InputError: the calibration data has no token, or an argument cannot be used.
        BudgetError: a greedy budget is below the smallest possible member.
    """
    method, out = method or Method(), Path(out)
    if storage is not None and storage not in STORAGES:
        raise InputError(f"unknown storage {storage!r}; use one of {', '.join(STORAGES)}, or None.")
    if not levels:
        raise InputError("levels is empty; give at least one kept share, such as 0.5.")
    if isinstance(source, str | Path) and Path(source).resolve() == out.resolve():
        raise InputError(f"{out} is the source; write the decomposed model to another folder.")
    checkpoint = open_checkpoint(source)
    job = _Job(checkpoint, calibration, method, progress or _silent, storage)
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".work-", dir=out))
    try:
        chosen, rows = job.run(list(levels), work)
        written = _assemble(out, work, checkpoint, chosen, job.dtype, storage)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report = _report(written, rows, method, storage, job.tokens)
    (out / "decomposition.json").write_text(json.dumps(report, indent=1))
    _copy_rest(checkpoint, out)
    if checkpoint.folder is None:
        source.generation_config.save_pretrained(out)
    return report


def _silent(_done: int, _total: int, _what: str) -> None:
    pass


class _Job:
    """The passes over a checkpoint."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        calibration: Iterable[Batch],
        method: Method,
        progress: Progress,
        storage: Storage | None,
    ) -> None:
        self.checkpoint, self.method, self.progress = checkpoint, method, progress
        self.own = shell(checkpoint)
        self.depth = checkpoint.text.num_hidden_layers
        self.names = linears(self.depth, checkpoint.layers)
        own = checkpoint.dtypes[f"{self.names[0]}.weight"]
        # int8 scales are found once, at the end, from factors that were not rounded before.
        self.dtype = {None: own, "bfloat16": torch.bfloat16}.get(storage, torch.float32)
        self.compute = torch.float64 if own == torch.float64 else torch.float32
        self.blind = method.whitening == "plain" and not method.refit
        self.batches: list[Batch] = []
        self.tokens = 0
        if not self.blind:
            self.batches, self.tokens = check(calibration, checkpoint)
        self.done = 0
        self.total = self.depth * (2 if method.ranks == "greedy" and method.sequential else 1)

    def run(self, levels: list[Share], work: Path) -> tuple[list[tuple[str, dict[str, int]]], list[Row]]:
        """The levels' ranks by linear, and one row per linear; the factors lie in ``work``."""
        if self.method.ranks == "uniform":
            chosen = [(_title(share, i), self._uniform(share)) for i, share in enumerate(levels)]
            check_levels(chosen)
            return chosen, self._walk([ranks for _, ranks in chosen], work)
        budgets = [self._budget(share) for share in levels]
        if self.method.sequential:
            chosen = self._greedy(levels, budgets, self._walk(None, None, sequential=False))
            return chosen, self._walk([ranks for _, ranks in chosen], work)
        rows = self._walk(None, work)
        return self._greedy(levels, budgets, rows), rows

    def _walk(
        self, ranks: Sequence[Mapping[str, int]] | None, work: Path | None, sequential: bool | None = None
    ) -> list[Row]:
        """One pass; all components where ``ranks`` is None, only their sizes where ``work`` is."""
        sequential = self.method.sequential if sequential is None else sequential
        refit = sequential and self.method.refit
        stream = None if self.blind else Stream(self.checkpoint, self.own, self.batches, self.compute)
        original = Stream(self.checkpoint, self.own, self.batches, self.compute) if refit else None
        factoring = Factoring(
            layers=self.checkpoint.layers,
            ranks=ranks,
            work=work,
            dtype=self.dtype,
            compute=self.compute,
            plain=self.method.whitening == "plain",
        )
        rows: list[Row] = []
        for index in range(self.depth):
            self.progress(self.done, self.total, f"block {index + 1} of {self.depth}")
            block = load_block(self.checkpoint, index, self.compute, self.own)
            rows += factoring.block(block, index, stream, original, sequential=sequential)
            self.done += 1
        self.progress(self.done, self.total, "blocks done")
        return rows

    def _shape(self, name: str) -> tuple[int, int]:
        m, n = self.checkpoint.shapes[f"{name}.weight"]
        return m, n

    def _uniform(self, share: Share) -> dict[str, int]:
        if not isinstance(share, Mapping):
            return {name: rank_of(*self._shape(name), share) for name in self.names}
        if set(share) != set(self.names):
            odd = sorted(set(share) ^ set(self.names))
            raise InputError(f"ranks must name every block linear and nothing else; look at {odd[0]!r}.")
        for name, rank in share.items():
            if not 1 <= rank <= min(self._shape(name)):
                raise InputError(f"rank {rank} of {name!r} is not possible; use 1 to {min(self._shape(name))}.")
        return {name: share[name] for name in self.names}

    def _budget(self, share: Share) -> int:
        if isinstance(share, Mapping):
            raise InputError("greedy ranks follow from budgets; give numbers as levels, or ranks='uniform'.")
        if not 0 < share <= 1:
            raise InputError(f"level {share} is not usable; give a kept share above 0 and at most 1.")
        return int(share * sum(m * n for m, n in map(self._shape, self.names)))

    def _greedy(self, levels: list[Share], budgets: list[int], rows: list[Row]) -> list[tuple[str, dict[str, int]]]:
        matrices = [Matrix(name=row.name, m=row.m, n=row.n, sigma=row.sigma) for row in rows]
        found = nested(matrices, budgets, weight=self.method.weight)
        return [(_title(share, i), ranks) for i, (share, ranks) in enumerate(zip(levels, found, strict=True))]


def _title(share: Share, index: int) -> str:
    return f"member{index}" if isinstance(share, Mapping) else f"{share:g}"


def _assemble(
    out: Path,
    work: Path,
    checkpoint: Checkpoint,
    levels: list[tuple[str, dict[str, int]]],
    dtype: torch.dtype,
    storage: Storage | None,
) -> list[Level]:
    files = [Reader(path) for path in sorted(work.glob("*.safetensors"))]
    where = {name: reader for reader in files for name in reader.names}

    def rows(name: str, factor: str, part: slice) -> torch.Tensor:
        return where[f"{name}.{factor}"].read(f"{name}.{factor}", part)

    return save(out, checkpoint, levels, rows, dtype, storage=storage if storage == "int8" else None)


def _report(
    levels: list[Level], rows: list[Row], method: Method, storage: Storage | None, tokens: int
) -> dict[str, Any]:
    shapes: dict[str, list[float]] = {}
    for row in rows:
        shapes.setdefault(f"{row.m}x{row.n}", []).append(row.seconds)
    return {
        "method": vars(method),
        "storage": storage,
        "calibration_tokens": tokens,
        "levels": [{"name": x.name, "parameters": x.parameters, "bytes": x.bytes} for x in levels],
        "seconds_per_shape": {shape: sum(times) / len(times) for shape, times in shapes.items()},
        "matrices": [row.describe([level.ranks[row.name] for level in levels]) for row in rows],
    }


def _copy_rest(checkpoint: Checkpoint, out: Path) -> None:
    """Tokenizer, processor and generation settings, so that the new folder is usable by itself."""
    for path in [] if checkpoint.folder is None else sorted(checkpoint.folder.iterdir()):
        weights = path.name == "config.json" or ".safetensors" in path.name or ".bin" in path.name
        if path.suffix in (".json", ".model", ".txt", ".jinja") and not weights and not (out / path.name).exists():
            shutil.copyfile(path, out / path.name)
