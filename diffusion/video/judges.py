"""The small networks behind the metrics: what a clip shows, and its depth, segments and edges read off the colours.

Trained on real clips only, frozen, shipped; they know no diffusion model. Their own errors on real clips are the
floors that a table must show.

Shapes: B clips, T frames, H x W pixels, K features.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from aiflow.diffusion.files import WEIGHTS
from aiflow.diffusion.video.data import ATTRIBUTES, FAR, NEAR, SHAPES
from aiflow.errors import WeightsError

FLOOR = 0.05
"""Least standard deviation by which a feature is divided, as a share of the median: a dead feature stays small."""


class ClipReader(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A small 3-D network that names shape, colour, motion and background; its features are those of FVD and KVD."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 24, features: int = 64) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.body = nn.Sequential(
            nn.Conv3d(3, width, 3, stride=(1, 2, 2), padding=1),
            nn.GELU(),
            nn.Conv3d(width, 2 * width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv3d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(2 * width * 2 * 2 * 2, features),
        )
        self.names = nn.ModuleDict({name: nn.Linear(features, len(words)) for name, words in ATTRIBUTES.items()})
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def raw(self, clips_BT3HW: Tensor) -> Tensor:
        """(B, K), not standardised."""
        found: Tensor = self.body(clips_BT3HW.transpose(1, 2))
        return found

    def features(self, clips_BT3HW: Tensor) -> Tensor:
        """(B, K), standardised by the real clips' statistics."""
        return torch.div(self.raw(clips_BT3HW) - self.mean, self.std)

    def forward(self, clips_BT3HW: Tensor) -> dict[str, Tensor]:
        """Logits (B, words) of each attribute."""
        x_BK = nn.functional.gelu(self.raw(clips_BT3HW))
        return {name: layer(x_BK) for name, layer in self.names.items()}

    @torch.no_grad()
    def standardise(self, clips_BT3HW: Tensor) -> None:
        """Fixes mean and standard deviation of the features to those of these clips, with a floor."""
        x_BK = torch.cat([self.raw(part) for part in torch.split(clips_BT3HW, 256)])
        std = x_BK.std(0)
        self.mean.copy_(x_BK.mean(0))
        self.std.copy_(std.clamp_min(FLOOR * float(std.median())))


class ViewReader(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Reads depth (m), segments and edges off the colours of a clip: what fidelity to a condition is measured with."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 32) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.body = nn.Sequential(
            nn.Conv3d(3, width, (1, 3, 3), padding=(0, 1, 1)),
            nn.GELU(),
            nn.Conv3d(width, width, (1, 3, 3), padding=(0, 2, 2), dilation=(1, 2, 2)),
            nn.GELU(),
            nn.Conv3d(width, width, (3, 3, 3), padding=(1, 3, 3), dilation=(1, 3, 3)),
            nn.GELU(),
            nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1)),
            nn.GELU(),
            nn.Conv3d(width, 2 + len(SHAPES) + 1, 1),
        )

    def forward(self, clips_BT3HW: Tensor) -> dict[str, Any]:
        """``depth`` in metres (B, T, H, W), ``segment`` logits (B, T, H, W, classes), ``edges`` logits (B, T, H, W)."""
        out = self.body(clips_BT3HW.transpose(1, 2))
        depth = NEAR + (FAR - NEAR) * torch.sigmoid(out[:, 0])
        return {"depth": depth, "edges": out[:, 1], "segment": out[:, 2:].permute(0, 2, 3, 4, 1)}


def load_judges(folder: str | Path = "video") -> tuple[ClipReader, ViewReader]:
    """The two that lie with a saved pipeline ("video": the one that ships), in float32. Raises WeightsError."""
    where = (WEIGHTS / "video" if str(folder) == "video" else Path(folder)) / "judges"
    try:
        clip = ClipReader.from_pretrained(where / "clip_reader", local_files_only=True)
        view = ViewReader.from_pretrained(where / "view_reader", local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"the judges in {where} cannot be loaded: {error}") from error
    return clip.eval(), view.eval()
