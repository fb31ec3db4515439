"""Factors the linears of one decoder block and moves the calibration activations on. Knows nothing of other blocks.

Legend: B rows, T tokens, H components, M outputs, N inputs, R all min(M, N) components.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.checkpoint_walk import Stream
from aiflow.collaboration.familial.factor import Factors, Gram, Refit, factor, plain, whiten
from aiflow.collaboration.familial.kinds import SHARED_INPUT, get_linear, with_linears
from aiflow.collaboration.familial.linear import LowRank
from aiflow.collaboration.familial.store import write


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """What is known of one linear: ``sigma`` (R,) of its whitened weight, how and how long it was factored.

    ``whitening_seconds`` stands with the first linear of those that share their input.
    """

    name: str
    m: int
    n: int
    sigma: Tensor
    method: str
    seconds: float
    whitening_seconds: float

    def describe(self, ranks: list[int]) -> dict[str, Any]:
        """For a report. ``loss``: share of the output energy that each of the ranks loses, before any refit."""
        energy_R = self.sigma.square()
        total = float(energy_R.sum())
        return {
            "name": self.name,
            "shape": [self.m, self.n],
            "method": self.method,
            "ranks": ranks,
            "loss": [float(energy_R[h:].sum()) / total if total else 0.0 for h in ranks],
            "energy": total,
            "sigma": {"largest": float(self.sigma[0]), "smallest": float(self.sigma[-1])},
            "seconds": self.seconds,
            "whitening_seconds": self.whitening_seconds,
        }


@dataclass(frozen=True, kw_only=True)
class Factoring:
    """How blocks are factored.

    ``layers``: what the blocks' names begin with. ``ranks``: by full name, per level; None: all components.
    ``work``: where the factors of each block are written; None: nowhere, only the spectra count. ``dtype``: of the
    factors there. ``compute``: of activations. ``plain``: without whitening.
    """

    layers: str
    ranks: Sequence[Mapping[str, int]] | None
    work: Path | None
    dtype: torch.dtype
    compute: torch.dtype
    plain: bool

    def block(
        self, block: Any, index: int, stream: Stream | None, original: Stream | None, *, sequential: bool
    ) -> list[Row]:
        """Factors a dense block; ``stream`` (if any) goes through it, compressed when ``sequential``.

        ``original``: the activations of the untouched model, for a refit; they go through the untouched block.
        """
        grams = self._profile(block, stream, advance=not sequential)
        rows: list[Row] = []
        factors: dict[str, Factors] = {}
        for group in SHARED_INPUT:
            rows += self._group(block, f"{self.layers}{index}.", group, grams, factors)
        if sequential and stream is not None:
            if original is not None:
                self._refit(block, index, stream, original, factors)
                original.through(block)
            stream.through(self._compressed(block, index, factors))
        if self.work is not None:
            self._write(index, factors, self.work)
        return rows

    def _profile(self, block: Any, stream: Stream | None, *, advance: bool) -> dict[str, Gram]:
        if stream is None:
            return {}
        grams = {} if self.plain else {group[0]: Gram(_inputs(block, group[0])) for group in SHARED_INPUT}

        def see(name: str, x_BTN: Tensor, mask_BT: Tensor | None) -> None:
            grams[name].add(x_BTN, mask_BT)

        if grams or advance:
            stream.through(block, see if grams else None, advance=advance)
        return grams

    def _group(
        self,
        block: Any,
        prefix: str,
        group: tuple[str, ...],
        grams: dict[str, Gram],
        factors: dict[str, Factors],
    ) -> list[Row]:
        start = time.perf_counter()
        # The Gram matrix is dropped before the SVD: with a wide MLP it is the largest thing in memory.
        whitening = whiten(grams.pop(group[0])) if grams else plain(_inputs(block, group[0]))
        spent, rows = time.perf_counter() - start, []
        for name in group:
            start = time.perf_counter()
            weight_MN = get_linear(block, name).weight
            found = factor(weight_MN, whitening, None if self.ranks is None else self.ranks[-1][prefix + name])
            if self.work is not None:
                factors[name] = found.to(self.dtype)
            m, n = weight_MN.shape
            rows.append(
                Row(
                    name=prefix + name,
                    m=m,
                    n=n,
                    sigma=found.sigma_R,
                    method=whitening.method,
                    seconds=time.perf_counter() - start,
                    whitening_seconds=spent if name == group[0] else 0.0,
                )
            )
        return rows

    def _refit(self, block: Any, index: int, stream: Stream, original: Stream, factors: dict[str, Factors]) -> None:
        """u by least squares, group by group: each sees the inputs that the refitted linears before it give.

        The rows that a level adds are fitted to what the levels before it leave, and those stay: fitted all at once,
        rows would count on later ones that a smaller member does not have.
        """
        for group in SHARED_INPUT:
            weights = {name: get_linear(block, name).weight for name in group}
            sums = {name: Refit(weight.shape[1], weight.shape[0]) for name, weight in weights.items()}
            compressed = self._compressed(block, index, factors)
            for i, mask_BT in enumerate(stream.masks):
                x_BTN = _input(compressed, stream, i, group[0])
                wanted_BTN = _input(block, original, i, group[0])
                for name in group:
                    sums[name].add(x_BTN, wanted_BTN @ weights[name].T, mask_BT)
            for name in group:
                old = factors[name]
                stops = [ranks[f"{self.layers}{index}.{name}"] for ranks in self.ranks or []] or [old.rank]
                u_HM = _stepwise(sums.pop(name), old.v_HN, stops).to(self.dtype)
                factors[name] = Factors(u_HM=u_HM, v_HN=old.v_HN, sigma_R=old.sigma_R)

    def _compressed(self, block: Any, index: int, factors: dict[str, Factors]) -> Any:
        """A view of the block with the factors, rounded as they will be stored."""
        linears = {}
        for name, found in factors.items():
            bias = get_linear(block, name).bias
            linears[name] = LowRank(found.u_HM.to(self.compute), found.v_HN.to(self.compute), bias)
        return with_linears(block, linears, index)

    def _write(self, index: int, factors: dict[str, Factors], work: Path) -> None:
        prefix = f"{self.layers}{index}."
        tensors = {f"{prefix}{name}.u": found.u_HM for name, found in factors.items()}
        tensors |= {f"{prefix}{name}.v": found.v_HN for name, found in factors.items()}
        write(work / f"{index:05}.safetensors", tensors)


def _stepwise(sums: Refit, v_HN: Tensor, stops: Sequence[int]) -> Tensor:
    """u_HM whose rows between two stops fit what the rows before leave."""
    solved, start = [], 0
    for stop in stops:
        if stop > start:
            v_PN = v_HN[start:stop].double()
            solved.append(sums.solve(v_PN))
            sums.cross_NM -= sums.gram.matrix_NN @ (v_PN.T @ solved[-1])
            start = stop
    return torch.cat(solved)


def _input(block: Any, stream: Stream, batch: int, name: str) -> Tensor:
    """What a linear of the block reads at this point of a stream."""
    caught: list[Tensor] = []

    def see(seen: str, x_BTN: Tensor, _mask_BT: Tensor | None) -> None:
        if seen == name:
            caught.append(x_BTN)

    stream.one(block, batch, see)
    return caught[0]


def _inputs(block: Any, name: str) -> int:
    return int(get_linear(block, name).weight.shape[1])
