"""Calibration activations on their way through the blocks of a checkpoint, one block of weights in memory at a time.

Knows neither ranks nor files that are written; `decompose` decides what happens at each block. The activations of all
batches stay in memory: 4 B T D bytes per batch in float32, whatever the depth.

Legend: B rows, T tokens, D model size, N inputs of a linear.
"""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.checkpoint import Checkpoint, new_model
from aiflow.collaboration.familial.kinds import SHARED_INPUT, Parts, get_linear, new_block, shortened
from aiflow.collaboration.familial.running import run
from aiflow.errors import InputError

Batch = tuple[Tensor, Tensor | None]
"""Token ids (B, T), or input embeddings (B, T, D) of any float dtype; mask (B, T), False or 0 at padding, or None."""

See = Callable[[str, Tensor, Tensor | None], None]
"""Called with the first linear of a group that shares its input, that input (B, T, N) and the mask."""


class Stream:
    """Activations of the calibration batches, between two blocks. ``tokens``: those that are no padding."""

    def __init__(self, checkpoint: Checkpoint, own: Parts, batches: list[Batch], dtype: torch.dtype) -> None:
        embedding_VD = checkpoint.read(checkpoint.embedding)
        self.own = own
        self.masks = [None if mask is None else mask.bool() for _, mask in batches]
        self.h = [_embed(given, embedding_VD).to(dtype) for given, _ in batches]

    @torch.no_grad()
    def through(self, block: Any, see: See | None = None, *, advance: bool = True) -> None:
        """Runs every batch through a block; ``see`` gets the inputs of its linears. Without ``advance`` it stays."""
        for i in range(len(self.h)):
            out_BTD = self.one(block, i, see)
            if advance:
                self.h[i] = out_BTD

    @torch.no_grad()
    def one(self, block: Any, batch: int, see: See | None = None) -> Tensor:
        """The block's output for one batch, zero at padding."""
        mask_BT, hooks = self.masks[batch], []
        if see is not None:
            for group in SHARED_INPUT:
                hook = partial(_show, see, group[0], mask_BT)
                hooks.append(get_linear(block, group[0]).register_forward_pre_hook(hook))
        try:
            out_BTD = run(self.own, [block], self.h[batch], mask_BT=mask_BT)
        finally:
            for handle in hooks:
                handle.remove()
        return out_BTD if mask_BT is None else out_BTD.masked_fill(~mask_BT[:, :, None], 0.0)


def load_block(checkpoint: Checkpoint, index: int, dtype: torch.dtype, own: Parts) -> Any:
    """The dense decoder block ``index``; ``own``: the `shell` it will run in."""
    with torch.device("meta"):
        block = new_block(own.config, index)
    block.load_state_dict(checkpoint.block(index, dtype), assign=True)
    return block.eval().requires_grad_(False)


def check(batches: Iterable[Batch], checkpoint: Checkpoint) -> tuple[list[Batch], int]:
    """The batches and how many tokens they hold.

    Raises InputError for ids outside the vocabulary, shapes that do not fit, no batch, or nothing but padding.
    """
    kept = list(batches)
    size, width = checkpoint.shapes[checkpoint.embedding]
    tokens = 0
    for given, mask in kept:
        shape = tuple(given.shape)
        if given.is_floating_point():
            if len(shape) != 3 or shape[2] != width:
                raise InputError(f"calibration embeddings have shape {shape}; give (rows, tokens, {width}).")
        elif len(shape) != 2 or (given.numel() and not 0 <= int(given.min()) <= int(given.max()) < size):
            raise InputError(f"calibration ids of shape {shape} must be (rows, tokens), from 0 to {size - 1}.")
        if mask is not None and tuple(mask.shape) != shape[:2]:
            raise InputError(f"a calibration mask of shape {tuple(mask.shape)} does not fit ids of shape {shape}.")
        tokens += given.shape[0] * given.shape[1] if mask is None else int(mask.bool().sum())
    if not tokens:
        raise InputError("the calibration data holds padding only, or nothing; give some text.")
    return kept, tokens


def _show(see: See, name: str, mask_BT: Tensor | None, _module: Any, args: tuple[Tensor, ...]) -> None:
    see(name, args[0], mask_BT)


def _embed(given: Tensor, embedding_VD: Tensor) -> Tensor:
    return given.clone() if given.is_floating_point() else embedding_VD[given.long()]


def shell(checkpoint: Checkpoint) -> Parts:
    """What `run` needs of a model: its config and its rotary angles; no weight."""
    config = copy.deepcopy(checkpoint.text)
    small = shortened(config, 0)
    small.vocab_size, small.pad_token_id = 1, None
    model = new_model(small)
    config._attn_implementation = model.config._attn_implementation
    return Parts(text=model.model, head=None, config=config)
