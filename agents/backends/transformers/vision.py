"""Pictures for image-text-to-text models: bytes -> PIL. Knows no model; needs no torchvision."""

import io
from collections.abc import Sequence
from typing import Any

import PIL.Image

from aiflow.errors import InputError
from aiflow.types import Image, Message

_UNREADABLE = (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError)


def pictures(messages: Sequence[Message]) -> list[Any]:
    """All images of a conversation in order, as RGB PIL images. Raises InputError for one that cannot be decoded."""
    return [_decode(image) for message in messages for image in message.images]


def _decode(image: Image) -> Any:
    try:
        return PIL.Image.open(io.BytesIO(image.data)).convert("RGB")
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"an image of {len(image.data)} bytes ({image.media_type}) cannot be decoded: {reason[:120]}; "
            "pass the bytes of an intact PNG, JPEG, GIF, WebP or BMP file."
        ) from error
