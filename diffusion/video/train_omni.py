"""Training of the diffusion models: the one of all modalities, and those of one condition each. Knows no files.

Sources: section IV-B3 (roles drawn per sample; two stages of the paper become one mixture); v-prediction, plain mean
squared error over what is generated; zero terminal signal-to-noise ratio.

Shapes: N clips, B samples, M modalities, F latent frames, C channels, H x W latent pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from aiflow.diffusion.video.data import MODALITIES, Clips
from aiflow.diffusion.video.model import CONDITION, GENERATE, IDLE, OmniTransformer3D
from aiflow.diffusion.words import WordEncoder, tokens

TEXT_DROP = 0.1
"""Share of the samples without text, for guidance."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clean latents, their roles, noise and timesteps, and the words."""

    x0_BFCHW: Tensor
    roles_BM: Tensor
    noise_BFCHW: Tensor
    timestep_B: Tensor
    ids_BL: Tensor
    mask_BL: Tensor
    spoken_B: Tensor

    @property
    def tokens(self) -> int:
        return int(self.x0_BFCHW.shape[0] * self.x0_BFCHW.shape[1] * self.x0_BFCHW.shape[3] * self.x0_BFCHW.shape[4])


class Trainee(nn.Module):
    """The transformer and the text encoder, which learn together."""

    def __init__(self, transformer: OmniTransformer3D, text: WordEncoder) -> None:
        super().__init__()
        self.transformer, self.text = transformer, text


def mixed_roles(rng: np.random.Generator, count: int, modalities: int) -> NDArray[np.int64]:
    """(B, M), something always generated: 20 % text alone, 55 % one condition, 25 % any number with some idle."""
    roles = np.full((count, modalities), GENERATE)
    for row, kind in zip(roles, rng.random(count), strict=True):
        order = rng.permutation(modalities)
        if 0.2 <= kind < 0.75:
            row[order[0]] = CONDITION
        elif kind >= 0.75:
            row[order[: rng.integers(0, modalities)]] = CONDITION
            free = order[:-1][row[order[:-1]] == GENERATE]
            row[free[rng.random(len(free)) < 0.4]] = IDLE
    return roles


def fixed_roles(roles: Sequence[int]) -> Callable[[np.random.Generator, int, int], NDArray[np.int64]]:
    """Always the same roles: for a model of one condition."""

    def draw(_rng: np.random.Generator, count: int, _modalities: int) -> NDArray[np.int64]:
        return np.tile(np.asarray(roles, np.int64), (count, 1))

    return draw


@torch.no_grad()
def encoded(clips: Clips, vae: Any, modalities: Sequence[str] = MODALITIES, chunk: int = 256) -> Tensor:
    """Scaled latents (N, F, M * C, H, W) of clips."""
    scale = float(vae.config.scaling_factor)
    parts = []
    for name in modalities:
        view = torch.from_numpy(clips.views[name]).transpose(1, 2)
        parts.append(torch.cat([vae.encode(x).latent_dist.mode() * scale for x in torch.split(view, chunk)]))
    return torch.cat(parts, dim=1).transpose(1, 2).contiguous()


def batches(
    latents_NFCHW: Tensor,
    words: tuple[Tensor, Tensor],
    size: int,
    seed: int,
    roles: Callable[[np.random.Generator, int, int], NDArray[np.int64]],
    modalities: int,
) -> Callable[[int], Iterator[Batch]]:
    """Batches from a step on; everything random follows from (seed, step)."""

    def from_step(step: int) -> Iterator[Batch]:
        while True:
            rng = np.random.default_rng((seed, step))
            torch_rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
            rows = torch.from_numpy(rng.integers(0, len(latents_NFCHW), size))
            x0 = latents_NFCHW[rows]
            yield Batch(
                x0_BFCHW=x0,
                roles_BM=torch.from_numpy(roles(rng, size, modalities)),
                noise_BFCHW=torch.randn(x0.shape, generator=torch_rng),
                timestep_B=torch.randint(0, 1000, (size,), generator=torch_rng),
                ids_BL=words[0][rows],
                mask_BL=words[1][rows],
                spoken_B=torch.from_numpy(rng.random(size) >= TEXT_DROP),
            )
            step += 1

    return from_step


def loss(model: Trainee, batch: Batch, alphas: Tensor, autocast: bool = True) -> Tensor:
    """Mean squared error of v over each generated modality, averaged over those, then over the samples."""
    roles, modalities = batch.roles_BM, batch.roles_BM.shape[1]
    abar = alphas[batch.timestep_B][:, None, None, None, None]
    noisy = abar.sqrt() * batch.x0_BFCHW + (1 - abar).sqrt() * batch.noise_BFCHW
    target = abar.sqrt() * batch.noise_BFCHW - (1 - abar).sqrt() * batch.x0_BFCHW
    generated = (roles == GENERATE).repeat_interleave(batch.x0_BFCHW.shape[2] // modalities, dim=1)
    x = torch.where(generated[:, None, :, None, None], noisy, batch.x0_BFCHW)
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        sdpa_kernel(SDPBackend.MATH),
    ):  # 2 x of flash, backward
        states, _ = model.text(batch.ids_BL, batch.mask_BL)
        states = states * batch.spoken_B[:, None, None].to(states.dtype)
        v = model.transformer(x, states, batch.timestep_B, roles, return_dict=False)[0]
    error = ((v.float() - target) ** 2).unflatten(2, (modalities, -1)).mean((1, 3, 4, 5))
    made = (roles == GENERATE).float()
    return torch.mean((error * made).sum(1) / made.sum(1))


def backward(alphas: Tensor) -> Callable[[Trainee, Batch], float]:
    """What `aiflow.fitting.fit` calls."""

    def step(model: Trainee, batch: Batch) -> float:
        value = loss(model, batch, alphas)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    return step


def words_of(tokenizer: Any, clips: Clips) -> tuple[Tensor, Tensor]:
    """Ids and mask of the captions."""
    return tokens(tokenizer, clips.captions)
