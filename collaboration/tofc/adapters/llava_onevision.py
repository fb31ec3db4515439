"""LLaVA-OneVision: the image as a whole and, cut up at a resolution that suits it, in tiles.

Where the features of the tiles stand in the prompt is read off the model's own packing, applied to their numbers. What
it cuts off (padding) is not encoded. Where it shrinks the grid of a very large image, it does so behind the projector;
here features are shrunk in front of it, since only features that are merged and coded reach the projector: that is the
one case in which all features without quantisation do not give the model's own embeddings.

Legend: T tiles, n features of a tile, C channels, R rows and W columns of the grid of features of all tiles.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.tofc.adapters.base import Inputs, taken
from aiflow.collaboration.tofc.adapters.layout import Layout
from aiflow.collaboration.tofc.adapters.llava import Llava
from aiflow.errors import InputError, UnsupportedModelError

WHOLE = (0, 0)
"""The size of an image that is not cut up, as several images in one prompt are not."""
_NEWLINE = -1
_NEVER_SHRUNK = f"anyres_max_{10**9}"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Grid:
    """``source_RW``: which feature (of T x n) stands where without padding; ``shape``: rows and columns as shrunk."""

    source_RW: Tensor
    shape: tuple[int, int]

    @property
    def shrunk(self) -> bool:
        return self.shape != tuple(self.source_RW.shape)

    def owner(self, n: int) -> Tensor:
        """The tile (rows x columns,) of each place of the grid."""
        nearest = [
            ((torch.arange(new) + 0.5) * old / new).long()
            for old, new in zip(self.source_RW.shape, self.shape, strict=True)
        ]
        return (self.source_RW[nearest[0]][:, nearest[1]] // n).flatten()

    def features(self, x_TnC: Tensor) -> Tensor:
        """The features (rows x columns, C) that stand in the grid."""
        x_RWC = x_TnC.flatten(0, 1)[self.source_RW.to(x_TnC.device)]
        if self.shrunk:
            x_1CRW = torch.nn.functional.interpolate(x_RWC.permute(2, 0, 1)[None], self.shape, mode="bilinear")
            x_RWC = x_1CRW[0].permute(1, 2, 0)
        return x_RWC.flatten(0, 1)


class LlavaOnevision(Llava):
    """Of an image features and its height and width in pixels travel."""

    fields = 2

    def __init__(self, model: Any) -> None:
        """Raises UnsupportedModelError for a tower that is not known here, or gives no square of features."""
        super().__init__(model)
        if self._count != self._grid**2:
            raise UnsupportedModelError(
                f"a tower with {self._count} features for {self._grid} x {self._grid} patches cannot be packed; set "
                "vision_feature_select_strategy so that each patch has one."
            )

    @property
    def newline(self) -> Tensor | None:
        """The vector (H,) at the end of each row."""
        found: Tensor = self._model.model.image_newline
        return found

    def size(self, inputs: Inputs) -> tuple[int, ...]:
        """Height and width of the original image; (0, 0) if it is not cut up. Raises InputError."""
        pixels = taken(inputs, "pixel_values", (1, None, None, self._side, self._side))
        if pixels.shape[1] == 1:
            return WHOLE
        height, width = taken(inputs, "image_sizes", (1, 2))[0].tolist()
        return int(height), int(width)

    def tiles(self, inputs: Inputs) -> list[Tensor]:
        """The features of the whole image (n, C), then of each tile that is not all padding. Raises InputError."""
        size = self.size(inputs)
        pixels = inputs["pixel_values"][0]
        if size == WHOLE:
            return [self.features(pixels)[0]]
        T = self._tiles(size)
        if len(pixels) < T:
            raise InputError(f"an image of {size} pixels has {T} tiles, the inputs {len(pixels)}; use its processor.")
        x_TnC, grid = self.features(pixels[:T]), self._pack(size)
        x_KC, owner_K = grid.features(x_TnC), grid.owner(self._count).to(x_TnC.device)
        return [x_TnC[0], *(x_KC[owner_K == t] for t in _present(owner_K))]

    def layout(self, size: tuple[int, ...]) -> Layout:
        """Where they stand: the whole image first, then the grid of all tiles row by row. Raises InputError."""
        n = self._count
        if size == WHOLE:
            return Layout(tiles=(torch.arange(n),), newlines_R=torch.tensor([n]), row=n)
        grid = self._pack(size)
        rows, columns = grid.shape
        place_K = (n + torch.arange(rows)[:, None] * (columns + 1) + torch.arange(columns)).flatten()
        owner_K = grid.owner(n)
        return Layout(
            tiles=(torch.arange(n), *(place_K[owner_K == t] for t in _present(owner_K))),
            newlines_R=n + torch.arange(1, rows + 1) * (columns + 1) - 1,
            row=columns,
        )

    def _tiles(self, size: tuple[int, ...]) -> int:
        """How many tiles an image has, the whole one among them."""
        from transformers.image_processing_utils import select_best_resolution

        if min(size) < 1:
            raise InputError(f"an image of {size} (height, width) pixels cannot be cut into tiles.")
        best: tuple[int, int] = select_best_resolution(size, self._model.config.image_grid_pinpoints)
        return 1 + (best[0] // self._side) * (best[1] // self._side)

    def _pack(self, size: tuple[int, ...]) -> _Grid:
        T, n = self._tiles(size), self._count
        number_Tn1 = torch.arange(T * n, dtype=torch.float64).view(T, n, 1)

        def packed(ratio: str) -> Tensor:
            (found,), _ = self._model.model.pack_image_features(
                [number_Tn1], [size], image_newline=torch.tensor([_NEWLINE]), vision_aspect_ratio=ratio
            )
            grid: Tensor = found[n:, 0]
            rows = int((grid == _NEWLINE).sum())
            return grid.view(rows, len(grid) // max(1, rows))[:, :-1]

        source_RW, shrunk = packed(_NEVER_SHRUNK).long(), packed(self._model.config.vision_aspect_ratio)
        return _Grid(source_RW=source_RW, shape=(shrunk.shape[0], shrunk.shape[1]))


def _present(owner_K: Tensor) -> list[int]:
    """The tiles that are not all padding, ascending."""
    return sorted(set(owner_K.tolist()))
