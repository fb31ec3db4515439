"""Starts branches from the backbone: the branch at an exit is the next blocks, decomposed by whitened SVD.

Knows neither loss nor data: calibration batches come as embeddings, so that images are like text.
Legend: B rows, T tokens, D model size, M outputs, N inputs of a linear. Source: AI Flow, sections III-A1 and III-B2.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.branch import Branch, low_rank_block
from aiflow.collaboration.familial.factor import Factors, Gram, factor, plain
from aiflow.collaboration.familial.factor import whiten as whitening_of
from aiflow.collaboration.familial.family import Family
from aiflow.collaboration.familial.kinds import LINEARS, SHARED_INPUT, get_linear
from aiflow.collaboration.familial.linear import First, LowRank, rank_of
from aiflow.errors import InputError

Grams = dict[str, Gram]
"""The Gram matrix of each linear's inputs, by linear name; linears with the same input have the same object."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A batch of inputs: embeddings ``h_BTD``; ``mask_BT`` is False on padding (None: no padding)."""

    h_BTD: Tensor
    mask_BT: Tensor | None = None

    @classmethod
    def of_ids(
        cls, family: Family, ids_BT: Tensor, mask_BT: Tensor | None = None, pixel_values: Tensor | None = None
    ) -> "Calibration":
        """From token ids, and images where the ids have image tokens."""
        with torch.no_grad():
            return cls(h_BTD=family.embed(ids_BT, pixel_values), mask_BT=mask_BT)


def initialise(
    family: Family, keeps: Mapping[int, float], batches: Iterable[Calibration], *, blocks: int = 1, whiten: bool = True
) -> dict[int, dict[str, Any]]:
    """Adds a branch at each exit, made of the backbone's next blocks; a branch that is there is replaced.

    One pass of the backbone per batch serves all exits. Norms and biases are copied.

    Args:
        family: gets the branches.
        keeps: by exit e, the share of their parameters that its branch keeps of the blocks e, e + 1, ... (0-based).
        batches: calibration inputs. The Gram matrices take 8 N^2 bytes for each of the four inputs of a block.
        blocks: of each branch; e + ``blocks`` is at most L. Two at half the rank are deeper for the same size.
        whiten: False leaves the inputs out of account (plain SVD).

    Returns:
        By exit: {"keep", "ranks", "loss", "method"}, the last three by linear name. The loss is the share of the
        linear's squared output on the calibration inputs that is lost (with plain SVD: of its squared weights), and
        with several blocks their mean.

    Raises:
        InputError: for an exit with too few next blocks, an unusable ``keep``, or batches without a token.
    """
    layers = family.parts.text.layers
    last = len(layers) - blocks
    for exit_ in keeps:
        if blocks < 1 or not 1 <= exit_ <= last:
            raise InputError(f"no {blocks} next blocks to start a branch at exit {exit_} from; use exits 1 to {last}.")
    ranks = {e: ranks_of(layers[e], keep) for e, keep in keeps.items()}
    used = {index for exit_ in keeps for index in range(exit_, exit_ + blocks)}
    grams = input_grams(family, used, batches) if whiten and keeps else {}
    report: dict[int, dict[str, Any]] = {}
    for exit_, keep in keeps.items():
        made, methods = [], dict[str, str]()
        losses = dict.fromkeys(LINEARS, 0.0)
        for index in range(exit_, exit_ + blocks):
            factors, methods = decomposed(layers[index], ranks[exit_], grams.get(index))
            made.append(low_rank_block(layers[index], factors, ranks[exit_], index))
            losses = {name: losses[name] + lost(factors[name], ranks[exit_][name]) / blocks for name in LINEARS}
        family.add(exit_, Branch(made))
        report[exit_] = {"keep": keep, "ranks": ranks[exit_], "loss": losses, "method": methods}
    return report


def ranks_of(block: Any, keep: float) -> dict[str, int]:
    """Ranks that keep the same share of every linear of a block. Raises InputError."""
    linears = {name: get_linear(block, name) for name in LINEARS}
    return {name: rank_of(x.out_features, x.in_features, keep) for name, x in linears.items()}


def decomposed(block: Any, ranks: Mapping[str, int], grams: Grams | None) -> tuple[dict[str, Factors], dict[str, str]]:
    """Factors of a block's linears, and how each was whitened ("plain" without ``grams``)."""
    factors: dict[str, Factors] = {}
    methods: dict[str, str] = {}
    for group in SHARED_INPUT:
        white = plain(get_linear(block, group[0]).in_features) if grams is None else whitening_of(grams[group[0]])
        for name in group:
            factors[name] = factor(weight_of(get_linear(block, name)), white, ranks[name])
            methods[name] = "plain" if grams is None else white.method
    return factors, methods


def lost(factors: Factors, rank: int) -> float:
    """Relative squared error of the first ``rank`` components."""
    return float(factors.loss(rank)) / max(float(factors.loss(0)), torch.finfo(torch.float64).tiny)


def weight_of(linear: Any) -> Tensor:
    """The matrix (M, N) of a dense or low-rank linear, in float64 for a low-rank one."""
    if isinstance(linear, LowRank | First):
        whole = linear.whole if isinstance(linear, First) else linear
        return whole.u.detach()[: linear.rank].double().T @ whole.v.detach()[: linear.rank].double()
    weight: Tensor = linear.weight.detach()
    return weight


def input_grams(family: Family, blocks: Collection[int], batches: Iterable[Calibration]) -> dict[int, Grams]:
    """Gram matrices of the inputs of some backbone blocks' linears, by 0-based block; padding does not count.

    Raises:
        InputError: if the batches have no token besides padding.
    """
    layers = family.parts.text.layers
    grams: dict[int, Grams] = {}
    for index in blocks:
        fresh = [(group, Gram(get_linear(layers[index], group[0]).in_features)) for group in SHARED_INPUT]
        grams[index] = {name: gram for group, gram in fresh for name in group}
    tokens = 0
    for batch in batches:
        with torch.no_grad(), _watched(layers, grams, batch.mask_BT):
            family.hidden(batch.h_BTD, [max(blocks) + 1], mask_BT=batch.mask_BT)
        tokens += int(batch.h_BTD.shape[:2].numel() if batch.mask_BT is None else batch.mask_BT.sum())
    if not tokens:
        raise InputError("the calibration batches have no token besides padding; give at least one real text.")
    return grams


@contextmanager
def _watched(layers: Any, grams: Mapping[int, Grams], mask_BT: Tensor | None) -> Iterator[None]:
    kept_R = None if mask_BT is None else mask_BT.bool().reshape(-1)

    def watch(gram: Gram) -> Any:
        return lambda _module, args: gram.add(args[0].reshape(-1, args[0].shape[-1]), kept_R)

    handles = [
        get_linear(layers[index], group[0]).register_forward_pre_hook(watch(of_block[group[0]]))
        for index, of_block in grams.items()
        for group in SHARED_INPUT
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
