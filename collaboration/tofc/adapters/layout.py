"""Where the features of an image stand in its run of placeholders in a prompt. Knows no model.

Legend: N placeholders, M kept features, R newlines, S places that stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


def _none() -> Tensor:
    return torch.zeros(0, dtype=torch.long)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """The run of placeholders of one image.

    Attributes:
        tiles: of each tile (a part of the image that the tower saw by itself), the places of its features, ascending.
        newlines_R: places of the one vector that the model itself sets at the end of a row, ascending.
        row: how many features stand before each newline and belong to its row.
    """

    tiles: tuple[Tensor, ...]
    newlines_R: Tensor = field(default_factory=_none)
    row: int = 0

    @property
    def features(self) -> tuple[int, ...]:
        """How many each tile has."""
        return tuple(len(places) for places in self.tiles)

    @property
    def count(self) -> int:
        """N: placeholders of the image in a full prompt."""
        return sum(self.features) + len(self.newlines_R)

    def stay(self, chosen: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What stays of the run when each tile keeps the features ``chosen`` (indices in the tile, ascending).

        A newline stays where a feature of its row does.

        Returns:
            The places (S,), ascending, and what stands at each: an index into the chosen features of all tiles in
            their order, or -1 for a newline.
        """
        places_M = torch.cat([places[kept] for places, kept in zip(self.tiles, chosen, strict=True)])
        ahead_RM = self.newlines_R[:, None] - places_M
        ends_R = self.newlines_R[((ahead_RM > 0) & (ahead_RM <= self.row)).any(1)]
        places_S, order_S = torch.cat([places_M, ends_R]).sort()
        return places_S, torch.where(order_S < len(places_M), order_S, -1)


def single(count: int) -> Layout:
    """One tile of ``count`` features in their order: the place of a feature is its index."""
    return Layout(tiles=(torch.arange(count),))
