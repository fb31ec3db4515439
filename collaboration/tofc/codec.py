"""The feature codec: merging, a linear basis, steps per quality level, and the entropy models.

What leaves the device of an image: which features are centres, and the quantised merged features. Places travel (some
bytes), because a language model then reads each merged feature at the position that it had. Quantisation is relative to
the entropy model's mean, so that only a scale's table index must agree bit by bit at both ends.
Source: AI Flow, section II-B1; the basis and the levels are ours.

Legend: B images, N features, C channels of the vision encoder, M tokens, D channels of the basis, E models.
"""

import math
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from aiflow.collaboration.tofc.entropy import EntropyModels, Router, balance, rounded
from aiflow.collaboration.tofc.merging import NEIGHBOURS, Clusters, cluster, normalised
from aiflow.errors import InputError


class CodecConfig(BaseModel):
    """Sizes of a codec; ``tokens`` and ``levels`` are what it was trained for, coarse to fine."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    channels: int = Field(ge=1)
    basis: int = Field(ge=1)
    hidden: int = Field(default=512, ge=1)
    hyper: int = Field(default=64, ge=1)
    models: int = Field(default=4, ge=1, le=255)
    levels: int = Field(default=4, ge=1, le=255)
    tokens: tuple[int, ...] = (8, 16, 32)
    neighbours: int = Field(default=NEIGHBOURS, ge=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Coded:
    """A differentiable pass: merged features (B, M, C) as decoded, bits (B,) of each image, balance loss, clusters."""

    x_BMC: Tensor
    bits_B: Tensor
    balance: Tensor
    clusters: Clusters


class Codec(nn.Module):
    """Features of an image -> few quantised ones, and back."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        sizes = {"channels": config.basis, "hidden": config.hidden, "models": config.models}
        self.mean = nn.Parameter(torch.zeros(config.channels))
        self.down = nn.Parameter(torch.eye(config.channels, config.basis))
        self.up = nn.Parameter(torch.eye(config.basis, config.channels))
        self.step = nn.ParameterList(torch.zeros(config.basis) for _ in range(config.levels))  # logarithms
        self.models = EntropyModels(**sizes, hyper=config.hyper, levels=config.levels)
        self.router = Router(**sizes)

    def analyse(self, x: Tensor, level: int) -> Tensor:
        """Features (..., C) -> coordinates in steps (..., D)."""
        return (x - self.mean) @ self.down * torch.exp(-self.step[level])

    def synthesise(self, u: Tensor, level: int) -> Tensor:
        """Coordinates in steps (..., D) -> features (..., C)."""
        return (u * torch.exp(self.step[level])) @ self.up + self.mean

    def merge(self, x_BNC: Tensor, tokens: int) -> tuple[Tensor, Clusters]:
        """Merged features (B, M, C) with their clusters. Raises InputError."""
        clusters = cluster(normalised(x_BNC.detach()), tokens, neighbours=self.config.neighbours)
        return clusters.merge(x_BNC), clusters

    def forward(self, x_BNC: Tensor, *, tokens: int, level: int | None, temperature: float = 1.0) -> Coded:
        """The training pass: soft choice of models, straight-through rounding; ``level`` None: merging alone."""
        x_BMC, clusters = self.merge(x_BNC, tokens)
        x_BMC, bits_BME, even = self.soft(x_BMC, level, temperature)
        return Coded(x_BMC=x_BMC, bits_B=bits_BME.sum((-1, -2)), balance=even, clusters=clusters)

    def soft(self, x: Tensor, level: int | None, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
        """The training pass of merged features (..., C): as decoded, bits (..., E) by model, balance loss."""
        if level is None:
            return x, x.new_zeros(*x.shape[:-1], 1), x.new_zeros(())
        u = self.analyse(x, self.check(level))
        weights = torch.softmax(self.router(u) / temperature, -1)
        found, bits = self.models(u, level)
        return self.synthesise((weights[..., None] * found).sum(-2), level), weights * bits, balance(weights)

    @torch.no_grad()
    def quantise(self, x_BMC: Tensor, level: int) -> Tensor:
        """What a decoder would have of merged features: the router's best model alone, rounding."""
        u_BMD = self.analyse(x_BMC, self.check(level))
        best_BM = self.router(u_BMD).argmax(-1)
        mean, _ = self.models.synthesise(self.models.analyse(u_BMD, level).round(), level)
        mean_BMD = mean.gather(-2, best_BM[..., None, None].expand(*best_BM.shape, 1, mean.shape[-1])).squeeze(-2)
        return self.synthesise(mean_BMD + rounded(u_BMD - mean_BMD), level)

    def check(self, level: int) -> int:
        """Raises InputError for a level that the codec does not have."""
        if not 0 <= level < self.config.levels:
            raise InputError(f"level {level} is not in this codec; it has the levels 0 to {self.config.levels - 1}.")
        return level

    @torch.no_grad()
    def start(self, x_NC: Tensor, steps: tuple[float, ...]) -> None:
        """Sets the basis to the principal axes of sample features, whitened, and the levels' steps (in deviations).

        Raises InputError for fewer samples than channels or another number of steps.
        """
        if len(steps) != self.config.levels or len(x_NC) < self.config.channels:
            raise InputError(
                f"{len(steps)} steps and {len(x_NC)} features for {self.config.levels} levels and "
                f"{self.config.channels} channels; give a step per level and at least a feature per channel."
            )
        x_NC = x_NC.double()
        values_C, vectors_CC = torch.linalg.eigh(torch.cov(x_NC.T))
        values_D = values_C.flip(0)[: self.config.basis].clamp(min=1e-6 * float(values_C[-1]))
        axes_CD = vectors_CC.flip(1)[:, : self.config.basis]
        self.mean.copy_(x_NC.mean(0))
        self.down.copy_(axes_CD / values_D.sqrt())
        self.up.copy_((axes_CD * values_D.sqrt()).T)
        for kept, step in zip(self.step, steps, strict=True):
            kept.fill_(math.log(step))
