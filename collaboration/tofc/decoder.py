"""The server's party: bytes and a prompt to the language model's answer. Knows no vision tower, no clock, no socket.

Legend: T tokens of the full prompt with N places of the image, M merged features, S tokens that stay (text, merged
features, newlines), H size of the language model, V vocabulary.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.tofc.adapters import Layout, adapter
from aiflow.collaboration.tofc.codec import Codec
from aiflow.collaboration.tofc.message import unframe
from aiflow.collaboration.tofc.sequence import expanded, kept
from aiflow.collaboration.tofc.stream import Coder, Tile
from aiflow.errors import InputError, MessageError


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """What came of an image: its tiles' merged features, its size as its kind of model counts it, its layout."""

    tiles: tuple[Tile, ...]
    size: tuple[int, ...]
    layout: Layout


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """A shortened prompt for a language model.

    Attributes:
        embeds_1SH: what it reads.
        positions: where each was in the full prompt: (1, S), or (3, 1, S) in time, height and width.
        text_behind: whether text follows the image, as an answer needs.
    """

    embeds_1SH: Tensor
    positions: Tensor
    text_behind: bool


class Decoder:
    """Keeps nothing between calls; decodes with the codec as it is when it is made.

    Attributes:
        adapter: the model's kind.
    """

    def __init__(self, model: Any, codec: Codec) -> None:
        """``model``: whole, or its `adapters.halves.server_half`.

        Raises UnsupportedModelError for a kind without an adapter, InputError for a codec that does not fit.
        """
        self.adapter = adapter(model, codec.config.channels)
        self._model, self._coder = model, Coder(codec)

    def image(self, data: bytes) -> Image:
        """Reads a message. Raises a ProtocolError for anything but what an `Encoder` of this model and codec sends."""
        size, stream = unframe(data, self.adapter.fields, self._coder.fingerprint)
        tiles = self._coder.decode(stream).tiles
        try:
            layout = self.adapter.layout(size)
        except InputError as error:
            raise MessageError(str(error)) from error
        if layout.features != tuple(tile.features for tile in tiles):
            raise MessageError(
                f"tiles of {[tile.features for tile in tiles]} features where an image of size {size} has "
                f"{list(layout.features)}; the sender has another model."
            )
        return Image(tiles=tiles, size=size, layout=layout)

    @torch.inference_mode()
    def prompt(self, image: Image, ids: Sequence[int]) -> Prompt:
        """Puts an image into a prompt, each merged feature where its centre was.

        Args:
            image: see `image`.
            ids: token ids with one image token, or with as many as the image has places, in a row.

        Raises:
            InputError: for other prompts.
        """
        text = self.adapter.parts.text
        device = text.embed_tokens.weight.device
        ids_1T = torch.tensor(
            [expanded(ids, self.adapter.image_token, image.layout.count, text.embed_tokens.num_embeddings)]
        )
        places_S, what_S = image.layout.stay([tile.places_M for tile in image.tiles])
        columns_1S = kept(ids_1T, self.adapter.image_token, places_S[None]).to(device)
        positions = self.adapter.positions(ids_1T.to(device), image.size)
        ids_1S = ids_1T.to(device).gather(1, columns_1S)
        h_1SH = text.embed_tokens(ids_1S)
        x_MC = torch.cat([tile.x_MC for tile in image.tiles]).to(device, h_1SH.dtype)
        h_MH, end_H = self.adapter.project(x_MC).to(h_1SH.dtype), self.adapter.newline
        if end_H is not None:
            h_MH = torch.cat([h_MH, end_H[None].to(h_MH)])  # what_S has -1 for it
        h_1SH[ids_1S == self.adapter.image_token] = h_MH[what_S.to(device)]
        return Prompt(
            embeds_1SH=h_1SH,
            positions=positions.gather(-1, columns_1S.expand(*positions.shape[:-1], -1)),
            text_behind=int(ids_1T[0, -1]) != self.adapter.image_token,
        )

    @torch.inference_mode()
    def logits(self, prompt: Prompt) -> Tensor:
        """The language model's logits (1, S, V) at every token that stayed."""
        own = self.adapter.parts
        # Without a mask transformers takes the gaps between positions for borders of texts packed into one row.
        states = own.text(
            inputs_embeds=prompt.embeds_1SH,
            position_ids=prompt.positions,
            attention_mask=_everything(prompt),
            use_cache=False,
        ).last_hidden_state
        found: Tensor = own.head(states)
        return found

    def generate(
        self,
        prompt: Prompt,
        *,
        limit: int = 64,
        stop: Collection[int] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> tuple[int, ...]:
        """Tokens of an answer, by transformers' own generation.

        Args:
            prompt: see `prompt`; text must follow the image.
            limit: tokens at most.
            stop: ids that end the answer and are not part of it; None: the model's own.
            temperature: 0: greedy; else tokens are drawn from the whole distribution.
            seed: of the draws; torch's global state stays as it was.

        Raises:
            InputError: for a prompt that ends with its image, or another number.
        """
        if not prompt.text_behind or limit < 1 or temperature < 0:
            raise InputError(
                f"limit {limit}, temperature {temperature}, a prompt that ends with "
                f"{'text' if prompt.text_behind else 'its image'}; give at least 1, at least 0, and text at the end."
            )
        from transformers import GenerationConfig

        own = self._model.generation_config.eos_token_id
        ends = list(stop) if stop is not None else [own] if isinstance(own, int) else list(own or [])
        config = GenerationConfig(
            max_new_tokens=limit,
            do_sample=temperature > 0,
            eos_token_id=ends or [-1],  # an id that never comes; None would mean the model's own
            pad_token_id=0,
            **({"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}),
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            said: list[int] = self._model.generate(
                inputs_embeds=prompt.embeds_1SH,
                position_ids=prompt.positions,
                attention_mask=_everything(prompt),
                generation_config=config,
            )[0].tolist()
        return tuple(said[:-1] if said and said[-1] in ends else said)


def _everything(prompt: Prompt) -> Tensor:
    """The mask (1, S) that hides nothing."""
    return torch.ones(prompt.embeds_1SH.shape[:2], dtype=torch.long, device=prompt.embeds_1SH.device)
