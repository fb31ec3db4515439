"""Clips to latents and back, for all modalities alike. Stands where an AutoencoderKLCogVideoX would stand.

Linear patches (begun as their principal components) plus a small convolutional correction on each side. Not causal in
time: a clip is coded as a whole. Knows no modality, no text.

Shapes: B clips, C = 3 colours, T frames, H x W pixels; latents (B, L, T/2, H/4, W/4) of unit variance per channel.
"""

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from aiflow.errors import InputError

PATCH = (2, 4, 4)
"""Frames, rows and columns that one latent stands for."""


class TinyVideoAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """encode -> latent distribution (a point: there is no noise), decode -> clip; as AutoencoderKLCogVideoX."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 3,
        latent_channels: int = 16,
        width: int = 96,
        scaling_factor: float = 1.0,  # noqa: ARG002
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.patch_in = nn.Conv3d(in_channels, latent_channels, PATCH, PATCH)
        self.correct_in = nn.Sequential(
            nn.Conv3d(in_channels, width, PATCH, PATCH), nn.GELU(), nn.Conv3d(width, latent_channels, 3, padding=1)
        )
        self.patch_out = nn.ConvTranspose3d(latent_channels, in_channels, PATCH, PATCH)
        self.correct_out = nn.Sequential(
            nn.Conv3d(latent_channels, width, 3, padding=1),
            nn.GELU(),
            nn.Conv3d(width, width, 3, padding=1),
            nn.GELU(),
            nn.ConvTranspose3d(width, in_channels, PATCH, PATCH),
        )
        for part in (self.correct_in, self.correct_out):
            nn.init.zeros_(next(p for n, p in part[-1].named_parameters() if n == "weight"))
        self.register_buffer("mean", torch.zeros(1, latent_channels, 1, 1, 1))
        self.register_buffer("std", torch.ones(1, latent_channels, 1, 1, 1))

    def encode(self, x_BCTHW: Tensor, return_dict: bool = True) -> Any:
        """The latents' distribution. Raises InputError for a clip that is no whole number of patches."""
        if x_BCTHW.ndim != 5 or any(n % p for n, p in zip(x_BCTHW.shape[2:], PATCH, strict=True)):
            raise InputError(
                f"a clip of shape {tuple(x_BCTHW.shape)} cannot be coded: (B, 3, T, H, W) with T, H, W multiples "
                f"of {PATCH} is expected."
            )
        z_BLTHW = (self.patch_in(x_BCTHW) + self.correct_in(x_BCTHW) - self.mean) / self.std
        posterior = DiagonalGaussianDistribution(torch.cat([z_BLTHW, torch.zeros_like(z_BLTHW)], 1), deterministic=True)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, z_BLTHW: Tensor, return_dict: bool = True) -> Any:
        """The clips of latents."""
        raw = z_BLTHW * self.std + self.mean
        clip = self.patch_out(raw) + self.correct_out(raw)
        return DecoderOutput(sample=clip) if return_dict else (clip,)

    @torch.no_grad()
    def begin(self, x_BCTHW: Tensor) -> None:
        """Sets the linear patches to the principal components of these clips' patches."""
        channels, latent = int(self.config["in_channels"]), int(self.config["latent_channels"])
        patches = x_BCTHW
        for axis, size in enumerate(PATCH, 2):
            patches = patches.unfold(axis, size, size)
        rows = patches.permute(0, 2, 3, 4, 1, 5, 6, 7).reshape(-1, channels * PATCH[0] * PATCH[1] * PATCH[2]).double()
        mean = rows.mean(0)
        _, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        basis = vectors[:, -latent:].flip(1).T.float()  # (latent, C * patch)
        kernel = basis.reshape(latent, channels, *PATCH)
        self.patch_in.load_state_dict({"weight": kernel, "bias": -(basis @ mean.float())})
        offset = mean.float().reshape(channels, -1)
        self.patch_out.load_state_dict({"weight": kernel, "bias": offset.mean(1)})

    @torch.no_grad()
    def normalise(self, x_BCTHW: Tensor) -> None:
        """Fixes mean and standard deviation of every latent channel to those of these clips."""
        self.mean.zero_()
        self.std.fill_(1.0)
        z_BLTHW = self.encode(x_BCTHW).latent_dist.mode()
        self.mean.copy_(z_BLTHW.mean((0, 2, 3, 4), keepdim=True))
        self.std.copy_(z_BLTHW.std((0, 2, 3, 4), keepdim=True).clamp_min(1e-3))
