"""Training of the networks behind the metrics, on real clips, half of them once through the autoencoder.

So what they judge is the diffusion model, not the autoencoder's blur; the autoencoder's own row stands in every table.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from aiflow.diffusion.video.data import ATTRIBUTES, Clips, depth_metres, edge_mask, segment_labels
from aiflow.diffusion.video.judges import ClipReader, ViewReader


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Clips (B, T, 3, H, W) and what is in them."""

    rgb: Tensor
    attributes: Tensor
    depth_m: Tensor
    labels: Tensor
    edges: Tensor

    @property
    def tokens(self) -> int:
        return len(self.rgb)


@torch.no_grad()
def reconstructed(vae: Any, view: Any) -> Tensor:
    """Clips (N, T, 3, H, W) through the autoencoder."""
    parts = torch.split(torch.as_tensor(view).transpose(1, 2), 256)
    return torch.cat([vae.decode(vae.encode(x).latent_dist.mode()).sample for x in parts]).transpose(1, 2).clamp(-1, 1)


def shown(clips: Clips, vae: Any, size: int, seed: int) -> Callable[[int], Iterator[Shown]]:
    """Batches from a step on, with a little noise; everything random follows from (seed, step)."""
    both = torch.stack([torch.from_numpy(clips.views["rgb"]), reconstructed(vae, clips.views["rgb"])])
    depth = torch.from_numpy(depth_metres(clips.views["depth"]))
    labels = torch.from_numpy(segment_labels(clips.views["segment"]))
    edges = torch.from_numpy(edge_mask(clips.views["edges"])).float()
    attributes = torch.from_numpy(clips.attributes)

    def from_step(step: int) -> Iterator[Shown]:
        while True:
            rng = np.random.default_rng((seed, step))
            rows = torch.from_numpy(rng.integers(0, len(clips), size))
            rgb = both[torch.from_numpy(rng.integers(0, 2, size)), rows]
            rgb = rgb + 0.05 * torch.randn(rgb.shape, generator=torch.Generator().manual_seed(step))
            yield Shown(
                rgb=rgb, attributes=attributes[rows], depth_m=depth[rows], labels=labels[rows], edges=edges[rows]
            )
            step += 1

    return from_step


def clip_backward(model: ClipReader, batch: Shown) -> float:
    """Cross-entropy of the four attributes."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(batch.rgb)
    losses = [
        functional.cross_entropy(logits[name].float(), batch.attributes[:, a]) for a, name in enumerate(ATTRIBUTES)
    ]
    loss = torch.stack(losses).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def view_backward(model: ViewReader, batch: Shown) -> float:
    """Relative depth error, and cross-entropies of segments and edges."""
    with torch.autocast("cpu", torch.bfloat16):
        out = model(batch.rgb)
    depth = ((out["depth"].float() - batch.depth_m).abs() / batch.depth_m).mean()
    segment = functional.cross_entropy(out["segment"].float().flatten(0, 3), batch.labels.flatten())
    edges = functional.binary_cross_entropy_with_logits(out["edges"].float(), batch.edges)
    loss = 3 * depth + segment + edges
    loss.backward()
    return float(loss.detach())
