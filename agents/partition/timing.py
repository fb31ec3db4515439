"""How fast a node computes: one block for a token and for a prompt, and the head. A blank block is timed."""

import torch

from aiflow.agents.partition.pace import Pace
from aiflow.clock import Clock
from aiflow.collaboration.familial.running import step
from aiflow.collaboration.partition.weights import Checkpoint

WIDE = 32
"""Tokens of the longer of the two passes that are timed."""
_REPEATS = 3


def given(pace: Pace | None) -> list[float]:
    """Of an emulated node: seconds of a block for one token, for each token of a prompt, of the head."""
    return [0.0, 0.0, 0.0] if pace is None else [pace.seconds(1, 1), pace.token, 0.0]


@torch.inference_mode()
def measured(checkpoint: Checkpoint, clock: Clock) -> list[float]:
    """The same as measured here; the least of some passes. The head is a product of a known size."""
    one, wide = (_seconds(checkpoint, tokens, clock) for tokens in (1, WIDE))
    sizes = checkpoint.sizes
    return [one, max(0.0, (wide - one) / (WIDE - 1)), one * sizes.head / max(sizes.blocks)]


def _seconds(checkpoint: Checkpoint, tokens: int, clock: Clock) -> float:
    from transformers import DynamicCache

    own, block = checkpoint.blank()
    weight = next(block.parameters())
    h_1ND = torch.zeros(1, tokens, checkpoint.width, dtype=weight.dtype, device=weight.device)
    positions_1N = torch.arange(tokens, device=weight.device)[None]
    valid_1K = torch.ones(1, tokens, dtype=torch.bool, device=weight.device)
    best = float("inf")
    for _ in range(_REPEATS):
        began = clock.now()
        step(own, block, h_1ND, start=0, positions_BT=positions_1N, valid_BK=valid_1K, cache=DynamicCache())
        best = min(best, clock.now() - began)
    return best
