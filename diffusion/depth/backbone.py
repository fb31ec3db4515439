"""Any transformers vision backbone as the shared encoder: four of its layers, reassembled as in DPT to four levels.

Backbones (DINOv2, Swin, ConvNeXt, ResNet) give feature maps; other models (ViT, DeiT, BEiT, CLIP's vision tower) their
hidden states. Knows no decoder. transformers is imported on use.

Legend: B batch, N tokens, C channels, h w rows and columns of a level, H W of the image.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from aiflow.diffusion.depth.model import LEVELS
from aiflow.errors import UnsupportedModelError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SCALES = (4.0, 2.0, 1.0, 0.5)
"""Of the levels, as multiples of the patch grid."""


class BackboneEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A backbone with its reassembly; make it by `from_backbone`.

    Args:
        architecture: the transformers config as a dict, with ``model_type``.
        layers: the four of its layers that are read, from 1; of a backbone with four stages, all.
        channels: of the levels, for the decoders.
        width: columns to which images are resized.
        stride: images are resized to its multiples: the patch, or the coarsest stage's stride.
        fit: "stretch" (see `vision.prepare`).
        mean: of the input's colours.
        std: of the input's colours.

    Raises UnsupportedModelError for a model without spatial features.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        architecture: dict[str, Any],
        layers: Sequence[int],
        channels: Sequence[int] = (96, 192, 384, 384),
        width: int = 518,  # noqa: ARG002
        stride: int = 14,
        fit: str = "stretch",  # noqa: ARG002
        mean: Sequence[float] = IMAGENET[0],  # noqa: ARG002
        std: Sequence[float] = IMAGENET[1],  # noqa: ARG002
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers, self.patch = list(layers), stride
        self.backbone = _build(architecture, self.layers)
        sizes = _channels(self.backbone, self.layers)
        self.project = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(sizes, channels, strict=True))

    def forward(self, x_B3HW: Tensor) -> list[Tensor]:
        """Levels ``(B, C_i, h_i, w_i)``; the finest is half as large as the decoders' maps."""
        maps = self._maps(x_B3HW)
        flat = len({tuple(m.shape[-2:]) for m in maps}) == 1
        levels = []
        for i, (layer, one) in enumerate(zip(self.project, maps, strict=True)):
            level = layer(one)
            if flat and SCALES[i] != 1:
                size = [max(1, round(n * SCALES[i])) for n in level.shape[-2:]]
                level = F.interpolate(level, size=size, mode="bilinear", align_corners=False)
            levels.append(level)
        return levels

    def _maps(self, x_B3HW: Tensor) -> list[Tensor]:
        said = inspect.signature(self.backbone.forward).parameters
        options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in said else {}
        if _is_backbone(self.backbone):
            return list(self.backbone(x_B3HW, **options).feature_maps)
        states = self.backbone(x_B3HW, output_hidden_states=True, **options).hidden_states
        patch = self.patch
        rows, columns = (n // patch for n in x_B3HW.shape[-2:])
        return [_grid(states[layer], rows, columns) for layer in self.layers]


def from_backbone(
    source: Any,
    *,
    layers: Sequence[int] | None = None,
    channels: Sequence[int] = (96, 192, 384, 384),
    width: int = 518,
) -> BackboneEncoder:
    """An encoder from a Hugging Face id or folder (with its weights), or from a transformers config (random weights).

    Args:
        source: id, path, or config object.
        layers: four layers, from 1; by default the ends of the four quarters, or all stages of a four-stage backbone.
        channels: of the levels; the reassembly is random and must be trained with the decoders.
        width: columns to which images are resized, rounded to the model's stride.

    Raises UnsupportedModelError for a model that cannot be read, or without spatial features.
    """
    from transformers import AutoConfig

    named = isinstance(source, str | Path)
    try:
        config = AutoConfig.from_pretrained(source) if named else source
    except (OSError, ValueError, KeyError) as error:
        raise UnsupportedModelError(f"no vision backbone can be read from {source}: {error}") from error
    config = getattr(config, "vision_config", config)
    mean, std = _colors(source) if named else IMAGENET
    stride = _stride(config)
    chosen = list(layers) if layers is not None else _quarters(config)
    if len(chosen) != LEVELS:
        raise UnsupportedModelError(f"layers {chosen} given; the decoders need {LEVELS}.")
    encoder: BackboneEncoder = BackboneEncoder(
        architecture=config.to_dict(),
        layers=chosen,
        channels=list(channels),
        width=max(1, round(width / stride)) * stride,
        stride=stride,
        mean=list(mean),
        std=list(std),
    )
    if named:
        encoder.backbone = _build(config.to_dict(), chosen, source)
    encoder.eval()
    return encoder


def _build(config: dict[str, Any], layers: Sequence[int], source: Any = None) -> nn.Module:
    """The backbone if transformers has one of this type, else the plain model."""
    from transformers import AutoBackbone, AutoConfig, AutoModel

    kind = config.get("model_type", "")
    values = {key: value for key, value in config.items() if key not in ("model_type", "out_features", "out_indices")}
    try:
        made = AutoConfig.for_model(kind, **values)
        try:
            made.out_indices = list(layers)
            if source is not None:
                return AutoBackbone.from_pretrained(source, config=made)  # type: ignore[no-any-return]
            return AutoBackbone.from_config(made)  # type: ignore[no-any-return]
        except ValueError:
            if source is not None:
                return AutoModel.from_pretrained(source, config=made)  # type: ignore[no-any-return]
            return AutoModel.from_config(made)  # type: ignore[no-any-return]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UnsupportedModelError(f"{kind!r} cannot be an encoder with layers {list(layers)}: {error}") from error


def _is_backbone(model: Any) -> bool:
    return hasattr(model, "out_indices") and hasattr(model, "channels")


def _channels(model: Any, layers: Sequence[int]) -> list[int]:
    if _is_backbone(model):
        return [int(c) for c in model.channels]
    size = getattr(model.config, "hidden_size", None)
    if not isinstance(size, int):
        raise UnsupportedModelError(f"{model.config.model_type!r} says no hidden_size; it cannot be an encoder.")
    depth = getattr(model.config, "num_hidden_layers", 0)
    if not all(0 < layer <= depth for layer in layers):
        raise UnsupportedModelError(f"layers {list(layers)} given; {model.config.model_type!r} has 1 to {depth}.")
    return [size] * len(layers)


def _quarters(config: Any) -> list[int]:
    depth = getattr(config, "num_hidden_layers", None)
    stages = getattr(config, "depths", None)
    if stages is not None and len(stages) == LEVELS:
        return list(range(1, LEVELS + 1))
    if isinstance(depth, int) and depth >= LEVELS:
        return [round(depth * (i + 1) / LEVELS) for i in range(LEVELS)]
    raise UnsupportedModelError(f"{config.model_type!r} has no {LEVELS} layers; it cannot be an encoder.")


def _stride(config: Any) -> int:
    patch = getattr(config, "patch_size", None)
    patch = patch[0] if isinstance(patch, list | tuple) else patch
    stages = getattr(config, "depths", None)
    if stages is not None:
        stem = int(patch or 4)
        return stem << (len(stages) - 1)
    if not isinstance(patch, int):
        raise UnsupportedModelError(f"{config.model_type!r} says no patch_size; it cannot be an encoder.")
    return patch


def _colors(source: Any) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and std of the model's image processor; ImageNet's if it has none."""
    from transformers.image_processing_utils import BaseImageProcessor

    try:
        said, _ = BaseImageProcessor.get_image_processor_dict(str(source))
    except (OSError, ValueError):
        return IMAGENET
    return said.get("image_mean", IMAGENET[0]), said.get("image_std", IMAGENET[1])


def _grid(state_BNC: Tensor, rows: int, columns: int) -> Tensor:
    """Tokens to ``(B, C, h, w)``, without class and register tokens, which come first."""
    extra = state_BNC.shape[1] - rows * columns
    if extra < 0:
        raise UnsupportedModelError(
            f"{state_BNC.shape[1]} tokens for a grid of {rows} x {columns}: no spatial features."
        )
    grid_BCN = state_BNC[:, extra:].transpose(1, 2)
    return grid_BCN.reshape(*grid_BCN.shape[:2], rows, columns)
