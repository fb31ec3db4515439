"""Pre-training of the vision tower: each patch is told what it shows (kind, colour, character, size, value, direction).

It takes the place that image-text pairs have for CLIP; the label heads are thrown away afterwards.
Legend: B images, P patches, D tower size.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aiflow.nano.family.model import PATCHES, pixels

NOTHING = 0.05
"""Loss weight of the many patches that show nothing."""


@dataclass(frozen=True)
class Labelled:
    """``images`` (B, 64, 64, 3) uint8; ``labels`` (B, P, heads)."""

    images: Tensor
    labels: Tensor

    @property
    def tokens(self) -> int:
        """Patches in the batch."""
        return self.images.shape[0] * PATCHES


class Seeing(nn.Module):
    """The tower with one linear label head per property."""

    def __init__(self, tower: Any, heads: dict[str, int]) -> None:
        super().__init__()
        self.tower = tower
        size = tower.config.hidden_size
        self.norm = nn.LayerNorm(size)
        self.heads = nn.ModuleList(nn.Linear(size, count) for count in heads.values())

    def forward(self, images: Tensor) -> list[Tensor]:
        """uint8 images -> per head, logits (B, P, classes)."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = self.tower(pixels(images), output_hidden_states=True).hidden_states[-1][:, 1:]
            features_BPD = self.norm(states)
            return [head(features_BPD) for head in self.heads]


def backward(model: Seeing, batch: Labelled) -> float:
    """Accumulates the gradients of the mean cross entropy over heads and patches; returns it."""
    total = torch.zeros(())
    for i, logits in enumerate(model(batch.images)):
        wanted = batch.labels[..., i].long()
        weight = torch.ones(logits.shape[-1])
        weight[0] = NOTHING
        total = total + nn.functional.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), weight)
    total.backward()  # type: ignore[no-untyped-call]
    return total.item()


def batches(seed: int, size: int, start: int) -> Iterator[Labelled]:
    """Endless batches of ``size`` images from batch ``start`` on; a pure function of seed and place."""
    from aiflow.nano.visual.stream import pretraining

    place = start
    while True:
        rng = random.Random(f"{seed} tower {place}")
        images, labels = zip(*(pretraining(rng) for _ in range(size)), strict=True)
        yield Labelled(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)))
        place += 1


@torch.inference_mode()
def accuracy(model: Seeing, batch: Labelled) -> list[float]:
    """Per head, the share of right labels among patches that show something."""
    found = []
    for i, logits in enumerate(model(batch.images)):
        wanted = batch.labels[..., i]
        there = wanted > 0
        found.append(float((logits.argmax(-1) == wanted)[there].float().mean()) if bool(there.any()) else 1.0)
    return found
