"""The device's party: an image to few bytes, by vision tower and codec. Knows no language model and no clock."""

from typing import Any

import torch

from aiflow.collaboration.tofc.adapters import Inputs, adapter
from aiflow.collaboration.tofc.codec import Codec
from aiflow.collaboration.tofc.message import frame
from aiflow.collaboration.tofc.stream import Coder


class Encoder:
    """Encodes with the model and the codec as they are when it is made.

    Attributes:
        adapter: the model's kind.
    """

    def __init__(self, model: Any, codec: Codec) -> None:
        """``model``: whole, or its `adapters.halves.device_half`.

        Raises UnsupportedModelError for a kind without an adapter, InputError for a codec that does not fit.
        """
        self.adapter = adapter(model, codec.config.channels)
        self._coder = Coder(codec)

    @torch.inference_mode()
    def encode(self, inputs: Inputs, tokens: int, level: int) -> bytes:
        """The message of one image.

        Args:
            inputs: what the model's image processor makes of it, as tensors (a batch of one).
            tokens: M, features to keep; an image that has fewer keeps all. Of several tiles each keeps its share and
                at least one.
            level: of quality.

        Raises:
            InputError: for other inputs, or a number of tokens or a level that is not there.
        """
        size, tiles = self.adapter.size(inputs), self.adapter.tiles(inputs)
        stream = self._coder.encode(tiles, min(tokens, sum(map(len, tiles))), level)
        return frame(size, stream, self._coder.fingerprint)
