"""Batches of procedural scenes for training, half of them indoors; arrays are made once and kept in memory.

Knows no model. Real data: `files`. Legend: B images, H W pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiflow.diffusion.depth.scenes import Kind, Scenes, Split, scenes

TRAIN = 3000
"""Scenes of each kind."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """``image_B3HW`` in [0, 1], ``depth_BHW`` in metres (inf: sky), ``domain_B`` 0 indoors or 1 outdoors."""

    image_B3HW: Tensor
    depth_BHW: Tensor
    domain_B: Tensor
    step: int

    @property
    def tokens(self) -> int:
        """How many images."""
        return len(self.image_B3HW)


@lru_cache(maxsize=8)
def kept(kind: Kind, split: Split, count: int, seed: int = 0) -> Scenes:
    """Scenes, made once."""
    return scenes(kind, split, count, seed=seed)


def batches(step: int, *, seed: int, size: int = 16, count: int = TRAIN) -> Iterator[Batch]:
    """Training batches from a step on: the same for the same step and seed. Half are mirrored."""
    while True:
        rng = np.random.default_rng([seed, step])
        images: list[Any] = []
        depths: list[Any] = []
        for kind in ("indoor", "outdoor"):
            found = kept(kind, "train", count)
            taken = rng.integers(0, count, size // 2)
            mirrored = rng.random(size // 2) < 0.5
            for array, into in ((found.image_BHW3, images), (found.depth_BHW, depths)):
                chosen = array[taken]
                chosen[mirrored] = chosen[mirrored][:, :, ::-1]
                into.append(chosen)
        image = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2).float() / 255
        domain = torch.arange(2).repeat_interleave(size // 2)
        yield Batch(image_B3HW=image, depth_BHW=torch.from_numpy(np.concatenate(depths)), domain_B=domain, step=step)
        step += 1
