"""Batches from a data stream, as a pure function of (seed, stream, position): nothing to save but the position.

A block of dialogues is encoded, sorted by length, cut into batches of about equal token counts and shuffled.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aiflow.nano import tokenizer as tok
from aiflow.nano.data.dialogue import Dialogue

Stream = Callable[[random.Random], Dialogue]
BLOCK = 1024
PROMPT_SHARE, PROMPT_WEIGHT = 0.15, 0.3


@dataclass(frozen=True)
class Batch:
    """``ids`` (B, T) padded on the right; ``weights`` (B, T): loss weight of predicting each token, 0 for none."""

    ids: Tensor
    weights: Tensor
    tokens: int


def block(tokenizer: Any, stream: Stream, seed: str, index: int, size: int, *, prompts: bool) -> list[Batch]:
    """The batches of block ``index``; ``prompts`` adds a small loss on a share of the prompt tokens."""
    rng = random.Random(f"{seed} {index}")
    rows = sorted((tok.encode(tokenizer, stream(rng)) for _ in range(BLOCK)), key=lambda r: len(r[0]))
    batches: list[Batch] = []
    while rows:
        count = max(1, min(len(rows), size // _width(rows)))
        batches.append(_pad(rows[-count:], rng, prompts))
        del rows[-count:]
    rng.shuffle(batches)
    return batches


def _width(rows: list[tuple[list[int], list[bool]]]) -> int:
    """The padded length: a multiple of 16, because every new shape costs compiled kernels and their memory."""
    return -(-len(rows[-1][0]) // 16) * 16


def _pad(rows: list[tuple[list[int], list[bool]]], rng: random.Random, prompts: bool) -> Batch:
    width = _width(rows)
    ids = torch.full((len(rows), width), tok.PAD)
    weights = torch.zeros(len(rows), width)
    for i, (row, learn) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        weights[i, : len(row)] = torch.tensor(
            [1.0 if x else PROMPT_WEIGHT if prompts and rng.random() < PROMPT_SHARE else 0.0 for x in learn]
        )
    return Batch(ids, weights, sum(len(r) for r, _ in rows))


def endless(tokenizer: Any, stream: Stream, seed: str, size: int, start: int, *, prompts: bool) -> Iterator[Batch]:
    """All batches from number ``start`` on; earlier blocks are rebuilt to find their lengths only when resuming."""
    index = position = 0
    while True:
        for batch in block(tokenizer, stream, seed, index, size, prompts=prompts):
            if position >= start:
                yield batch
            position += 1
        index += 1
