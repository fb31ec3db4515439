"""Qwen2-VL and Qwen2.5-VL: images of any resolution, a square of patches as one feature, positions in three dimensions.

A feature is what the patch merger reads: the vectors of ``spatial_merge_size`` squared neighbouring patches, side by
side. The merger is the projector.

Legend: N features (groups of patches) in raster order, C channels of a group.
"""

from typing import Any

import torch
from torch import Tensor, nn

from aiflow.collaboration.familial.kinds import Parts, shallow
from aiflow.collaboration.tofc.adapters.base import Inputs, like, taken
from aiflow.collaboration.tofc.adapters.layout import Layout, single
from aiflow.errors import InputError

LARGEST = 1 << 14
"""Features of an image at most."""


class _Grouped(nn.Module):
    """Stands where the merger stands: groups patches and changes nothing, so that the tower itself orders them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.width)


class QwenVL:
    """Of an image features travel, and how many rows and columns of them there are."""

    fields = 2

    def __init__(self, model: Any) -> None:
        self._model, vision = model, model.config.vision_config
        self.image_token = int(model.config.image_token_id)
        self._merge = int(vision.spatial_merge_size)
        # Qwen2-VL calls the width of its tower embed_dim, and hidden_size that of the language model.
        self._width = int(vision.embed_dim if model.config.model_type == "qwen2_vl" else vision.hidden_size)
        self.channels = self._merge**2 * self._width
        self._patch = int(vision.in_channels * vision.temporal_patch_size * vision.patch_size**2)

    @property
    def parts(self) -> Parts:
        """Where the parts of the model are."""
        inner = self._model.model
        return Parts(
            text=inner.language_model,
            head=self._model.lm_head,
            config=self._model.config.get_text_config(decoder=True),
            vision=inner.visual,
            projector=inner.visual.merger,
        )

    @property
    def newline(self) -> Tensor | None:
        """None: rows have no end."""
        return None

    def size(self, inputs: Inputs) -> tuple[int, ...]:
        """Rows and columns of features. Raises InputError."""
        frames, rows, columns = taken(inputs, "image_grid_thw", (1, 3))[0].tolist()
        if frames != 1:
            raise InputError(f"a video of {frames} frames cannot be compressed; give an image.")
        return rows // self._merge, columns // self._merge

    def tiles(self, inputs: Inputs) -> list[Tensor]:
        """The features (N, C) of the image in raster order. Raises InputError."""
        rows, columns = self.size(inputs)
        pixels = taken(inputs, "pixel_values", (rows * columns * self._merge**2, self._patch))
        tower = shallow(self.parts.vision)
        tower._modules["merger"] = _Grouped(self.channels)
        pixels = like(pixels, tower)
        x_NC: Tensor = tower(pixels, grid_thw=self._patches((rows, columns)).to(pixels.device)).pooler_output
        return [x_NC]

    def layout(self, size: tuple[int, ...]) -> Layout:
        """One tile, places in order. Raises InputError."""
        rows, columns = size
        if min(size) < 1 or rows * columns > LARGEST:
            raise InputError(f"{rows} x {columns} features are no image; there are 1 to {LARGEST}.")
        return single(rows * columns)

    def project(self, x: Tensor) -> Tensor:
        """Features (..., C) -> embeddings (..., H): the patch merger."""
        embeds: Tensor = self.parts.projector(x.reshape(-1, self._width))
        return embeds.view(*x.shape[:-1], -1)

    def positions(self, ids_BT: Tensor, size: tuple[int, ...]) -> Tensor:
        """Positions (3, B, T) in time, height and width, by the model's own rule."""
        found: Tensor = self._model.model.get_rope_index(
            ids_BT,
            mm_token_type_ids=(ids_BT == self.image_token).int(),
            image_grid_thw=self._patches(size).to(ids_BT.device).expand(len(ids_BT), 3),
        )[0]
        return found

    def _patches(self, size: tuple[int, ...]) -> Tensor:
        """The grid (1, 3) of patches: frames, rows, columns."""
        rows, columns = size
        return torch.tensor([[1, rows * self._merge, columns * self._merge]])
