"""A loaded model as a device or as a server of feature compression: its half of the model, with the codec folded in.

The model itself stays as it is; see `collaboration.tofc.beside`.
"""

import json
import secrets
from pathlib import Path
from typing import Any

import torch

from aiflow.agents.backends.transformers.loading import Loaded
from aiflow.agents.backends.transformers.requests import Prompt, Request
from aiflow.agents.backends.transformers.sampling import Ranked
from aiflow.agents.backends.transformers.single import generate
from aiflow.agents.tofc import wire
from aiflow.collaboration.tofc.adapters.halves import device_half, server_half
from aiflow.collaboration.tofc.beside import beside
from aiflow.collaboration.tofc.decoder import Decoder
from aiflow.collaboration.tofc.encoder import Encoder
from aiflow.collaboration.tofc.files import FOLDER
from aiflow.collaboration.tofc.model import Compressor
from aiflow.collaboration.tofc.stream import Coder
from aiflow.errors import DataError, InputError, UnsupportedModelError
from aiflow.types import Image, Message

HERE = Image(b"\x89PNG")
"""Stands in a conversation for an image that comes as features."""


class Device:
    """Sees."""

    def __init__(self, loaded: Loaded) -> None:
        """Raises UnsupportedModelError for a model that sees nothing or is not known, WeightsError without a codec."""
        made = _read(loaded, device_half)
        self._prompter = loaded.prompter
        self._encoder = Encoder(made.backbone, made.codec)
        self.about = _about(loaded, made)

    def see(self, asked: wire.See) -> bytes:
        """The bytes of an image. Raises InputError."""
        return self._encoder.encode(self._prompter.pixels(Image(asked.image)), asked.tokens, asked.level)


class Server:
    """Answers."""

    def __init__(self, loaded: Loaded) -> None:
        """Raises as `Device`, and InputError for a member of a family."""
        if loaded.member is not None:
            raise InputError(
                f"a part of the model in {loaded.source!r} cannot answer on features, since their codec was trained "
                "with the whole; let the whole model be the server, without #."
            )
        made = _read(loaded, server_half)
        self._loaded, self._model = loaded, made.backbone
        self._decoder = Decoder(made.backbone, made.codec)
        self.about = _about(loaded, made)

    @torch.inference_mode()
    def answer(self, image: bytes, request: Request) -> None:
        """Writes an answer, until it ends or is cancelled. Raises InputError, a ProtocolError for other images."""
        *before, last = request.messages
        loaded = self._loaded
        text = loaded.prompter.marked([*before, Message(last.role, last.text, (HERE,))])
        prompt = self._decoder.prompt(self._decoder.image(image), text.ids)
        count = prompt.embeds_1SH.shape[1]
        last_place = int(prompt.positions.max())
        context = loaded.context - max(0, last_place + 1 - count)
        if count >= context:
            raise InputError(
                f"the conversation ends at place {last_place} and the model reads {loaded.context} tokens, the answer "
                "included; shorten the conversation or use a model with a longer context."
            )
        asked = Prompt(ids=[0] * count, stop=text.stop)  # embeddings are read; only their number counts
        request.start(asked, loaded.decode, loaded.spell, ends=loaded.ends, context=context, seed=secrets.randbits(63))
        inputs = {
            "inputs_embeds": prompt.embeds_1SH,
            "position_ids": prompt.positions,
            "attention_mask": torch.ones(1, count, dtype=torch.long, device=prompt.embeds_1SH.device),
        }
        generate(self._model, inputs, request, lambda token, ranked: _write(request, token, ranked), loaded.silent)


def _write(request: Request, token: int, ranked: Ranked) -> None:
    request.push(token, ranked)


def _read(loaded: Loaded, half: Any) -> Compressor:
    if getattr(loaded.model.config, "vision_config", None) is None:
        raise UnsupportedModelError(
            f"the model in {loaded.source!r} reads text only; use a vision language model, such as aiflow:nano/family."
        )
    return beside(Path(loaded.source) / FOLDER, half(loaded.model))


def _about(loaded: Loaded, made: Compressor) -> wire.About:
    from aiflow.nano.family.profile import settings

    folder, config = Path(loaded.source) / FOLDER, made.codec.config
    try:
        profile = settings(folder)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(f"the profile in {folder} cannot be read ({error}); train the codec again.") from error
    return wire.About(
        kind=loaded.model.config.model_type,
        fingerprint=Coder(made.codec).fingerprint,
        tokens=list(config.tokens),
        levels=config.levels,
        profile=[wire.Choice(tokens=s.tokens, level=s.level, nbytes=s.nbytes, score=s.score) for s in profile],
    )
