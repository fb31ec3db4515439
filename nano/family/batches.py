"""Batches of pictures with dialogues, mixed with plain dialogues: a pure function of seed and place.

Legend: B rows, T tokens.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from aiflow.collaboration.familial.training import TextBatch
from aiflow.nano import tokenizer as tok
from aiflow.nano.data import generalist
from aiflow.nano.data.dialogue import Dialogue
from aiflow.nano.family.model import IMAGE, PATCHES, pixels
from aiflow.nano.visual.stream import many

Sample = tuple[Any, Dialogue]
"""A uint8 picture (64, 64, 3) or None, and the dialogue on it."""
TEXT_SHARE = 0.25
BLOCK = 512
Row = tuple[list[int], list[bool], Any]


def mixed(rng: random.Random, *, shown: Callable[[random.Random], Sample] = many) -> Sample:
    """A picture with a dialogue on it, or a dialogue of the generalist's data."""
    return (None, generalist.stream(rng)) if rng.random() < TEXT_SHARE else shown(rng)


def encode(tokenizer: Any, sample: Sample) -> Row:
    """Token ids with the picture's places at the start of the first user turn, and which of them are targets."""
    image, dialogue = sample
    ids, learn = tok.encode(tokenizer, dialogue)
    if image is not None:
        ids = [*ids[:2], *([IMAGE] * PATCHES), *ids[2:]]
        learn = [*learn[:2], *([False] * PATCHES), *learn[2:]]
    return ids, learn, image


def endless(
    tokenizer: Any, seed: str, size: int, start: int, sample: Callable[[random.Random], Sample] = mixed
) -> Iterator[TextBatch]:
    """All batches of about ``size`` tokens from number ``start`` on."""
    index = place = 0
    while True:
        rng = random.Random(f"{seed} {index}")
        rows = sorted((encode(tokenizer, sample(rng)) for _ in range(BLOCK)), key=lambda r: len(r[0]))
        groups: list[list[Row]] = []
        while rows:
            width = -(-len(rows[-1][0]) // 16) * 16
            count = max(1, min(len(rows), size // width))
            groups.append(rows[-count:])
            del rows[-count:]
        rng.shuffle(groups)
        for group in groups:
            if place >= start:
                yield pad(group)
            place += 1
        index += 1


def pad(rows: list[Row]) -> TextBatch:
    """Rows as one batch; the width is a multiple of 16, because every new shape costs compiled kernels."""
    width = -(-max(len(r[0]) for r in rows) // 16) * 16
    ids_BT = torch.full((len(rows), width), tok.PAD)
    weights_BT = torch.zeros(len(rows), width)
    for i, (row, learn, _) in enumerate(rows):
        ids_BT[i, : len(row)] = torch.tensor(row)
        weights_BT[i, : len(row)] = torch.tensor([float(x) for x in learn])
    images = [r[2] for r in rows if r[2] is not None]
    batch = TextBatch.of(ids_BT, weights_BT, pixels(np.stack(images)) if images else None)
    return replace(batch, tokens=sum(len(r[0]) for r in rows))
