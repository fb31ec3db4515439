"""What feature compression asks of a vision language model, and what its kinds have in common."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from aiflow.collaboration.familial.kinds import Parts
from aiflow.collaboration.tofc.adapters.layout import Layout
from aiflow.errors import InputError

Inputs = Mapping[str, Any]
"""What an image processor of transformers makes of one image, as tensors."""


class Adapter(Protocol):
    """One kind of vision language model: where its features are, between vision tower and projector.

    The device uses ``size`` and ``tiles`` (and has no language model), the server the rest (and has no tower).

    Attributes:
        image_token: id of the places that features take in a prompt.
        channels: C of a feature.
        fields: how many numbers the size of an image has.
    """

    image_token: int
    channels: int
    fields: int

    def size(self, inputs: Inputs) -> tuple[int, ...]:
        """What the server must know of an image to place its features. Raises InputError."""

    def tiles(self, inputs: Inputs) -> list[Tensor]:
        """The features (N_t, C) of each tile of an image before the projector. Raises InputError."""

    def layout(self, size: tuple[int, ...]) -> Layout:
        """Where they stand. Raises InputError for a size that no image has."""

    def project(self, x: Tensor) -> Tensor:
        """Features (..., C) -> embeddings (..., H) of the language model; differentiable."""

    def positions(self, ids_BT: Tensor, size: tuple[int, ...]) -> Tensor:
        """Positions (B, T) or (3, B, T) of full prompts with an image of that size each."""

    @property
    def newline(self) -> Tensor | None:
        """The vector (H,) that ends a row, of kinds that have one."""

    @property
    def parts(self) -> Parts:
        """Where the parts of the model are."""


def taken(inputs: Inputs, name: str, shape: tuple[int | None, ...]) -> Tensor:
    """A tensor of the inputs. Raises InputError if it is not there or has another shape (None: any length)."""
    value = inputs.get(name)
    have = tuple(value.shape) if isinstance(value, Tensor) else None
    if have is None or len(have) != len(shape) or any(w not in (None, h) for w, h in zip(shape, have, strict=True)):
        raise InputError(
            f"the inputs have {name} {have}, expected {shape}; give what the model's image processor makes of one "
            "image (return_tensors='pt')."
        )
    return cast(Tensor, value)


def like(x: Tensor, module: Any) -> Tensor:
    """Pixels on the device and in the dtype of a module's weights."""
    return x.to(next(module.parameters()))


def in_a_row(ids_BT: Tensor) -> Tensor:
    """Positions (B, T): 0, 1, ..., T - 1."""
    return torch.arange(ids_BT.shape[1], device=ids_BT.device).expand(ids_BT.shape)
