"""LLaVA 1.5: a CLIP- or SigLIP-type tower for images of one size, features of one layer or several, a projector.

Legend: B images, N features, C channels.
"""

from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.kinds import Parts
from aiflow.collaboration.tofc.adapters.base import Inputs, in_a_row, like, taken
from aiflow.collaboration.tofc.adapters.layout import Layout, single
from aiflow.errors import UnsupportedModelError

CLASS_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0}
"""Vision towers that are known, and how many states they have that stand for no patch."""


class Llava:
    """Any decoder; of an image only features travel, since all images have one size."""

    fields = 0

    def __init__(self, model: Any) -> None:
        """Raises UnsupportedModelError for a tower that is not known here."""
        self._model, config = model, model.config
        vision = config.vision_config
        if vision.model_type not in CLASS_TOKENS:
            raise UnsupportedModelError(
                f"a {config.model_type!r} model with a {vision.model_type!r} tower has no adapter for feature "
                f"compression; use one of the towers {', '.join(CLASS_TOKENS)}."
            )
        self.image_token = int(config.image_token_id)
        layers, self._drop = config.vision_feature_layer, config.vision_feature_select_strategy == "default"
        self._layers = [layers] if isinstance(layers, int) else list(layers)
        self.channels = len(self._layers) * int(vision.hidden_size)
        self._side = int(vision.image_size)
        self._grid = self._side // int(vision.patch_size)
        self._count = self._grid**2 + CLASS_TOKENS[vision.model_type] - self._drop

    @property
    def parts(self) -> Parts:
        """Where the parts of the model are."""
        inner = self._model.model
        return Parts(
            text=inner.language_model,
            head=self._model.lm_head,
            config=self._model.config.get_text_config(decoder=True),
            vision=inner.vision_tower,
            projector=inner.multi_modal_projector,
        )

    @property
    def newline(self) -> Tensor | None:
        """None: rows have no end."""
        return None

    def features(self, pixel_values: Tensor) -> Tensor:
        """Images (B, 3, height, width) -> features (B, N, C); differentiable."""
        tower = self.parts.vision
        states = tower(like(pixel_values, tower), output_hidden_states=True).hidden_states
        x_BNC = torch.cat([states[i] for i in self._layers], -1)
        return x_BNC[:, 1:] if self._drop else x_BNC

    def size(self, inputs: Inputs) -> tuple[int, ...]:
        """Nothing: every image is as large. Raises InputError."""
        taken(inputs, "pixel_values", (1, None, self._side, self._side))
        return ()

    def tiles(self, inputs: Inputs) -> list[Tensor]:
        """The features (N, C) of the image. Raises InputError."""
        return [self.features(taken(inputs, "pixel_values", (1, None, self._side, self._side)))[0]]

    def layout(self, size: tuple[int, ...]) -> Layout:  # noqa: ARG002
        """One tile, places in order."""
        return single(self._count)

    def project(self, x: Tensor) -> Tensor:
        """Features (..., C) -> embeddings (..., H)."""
        embeds: Tensor = self.parts.projector(x)
        return embeds

    def positions(self, ids_BT: Tensor, size: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        """Positions (B, T)."""
        return in_a_row(ids_BT)
