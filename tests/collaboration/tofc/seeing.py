"""Tiny models of every kind with their inputs, for the tests of this folder."""

import torch

from aiflow.bench.tofc import tiny
from aiflow.collaboration.tofc.adapters import adapter
from aiflow.collaboration.tofc.codec import Codec, CodecConfig
from aiflow.collaboration.tofc.decoder import Image
from aiflow.collaboration.tofc.stream import Tile

TEXT = ((5, 9, 14, 3), (7, 21, 8, 30, 11))
"""Before and behind the image."""


def shown(kind, height=61, width=83):
    return tiny.processor(kind)(images=tiny.picture(height, width), return_tensors="pt")


def codec_for(model, seed=3, **changes):
    """A random codec of the model's width whose steps fit the model's features."""
    channels = adapter(model).channels
    torch.manual_seed(seed)
    codec = Codec(CodecConfig(**({"channels": channels, "basis": 8, "hidden": 12, "hyper": 4, "levels": 2} | changes)))
    return codec.requires_grad_(False).eval()


def prompt_ids(count=1):
    return [*TEXT[0], *[tiny.IMAGE] * count, *TEXT[1]]


@torch.no_grad()
def whole(model, inputs):
    """All features of an image as a decoder would have them if nothing were merged or quantised."""
    own = adapter(model)
    size = own.size(inputs)
    tiles = (Tile(x_MC=x, places_M=torch.arange(len(x)), features=len(x)) for x in own.tiles(inputs))
    return Image(tiles=tuple(tiles), size=size, layout=own.layout(size))


def seen_by_the_model(model, inputs, count):
    """The keyword arguments for the model's own pass over image and prompt."""
    ids = torch.tensor([prompt_ids(count)])
    more = {"mm_token_type_ids": (ids == tiny.IMAGE).int()} if "qwen" in model.config.model_type else {}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **inputs, **more}
