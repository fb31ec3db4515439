"""Turns of a conversation out of a request's messages, and the limits on the pictures in them.

A picture's size is read from its header; nothing is decoded here, and nothing is fetched.
"""

import struct
import warnings
from collections.abc import Sequence
from io import BytesIO

from aiflow.errors import InputError
from aiflow.serve.config import Limits
from aiflow.serve.forms import AskedTurn, ImagePart, SaidTurn
from aiflow.serve.refusal import Refusal
from aiflow.types import Image, Message

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")


def turns(messages: Sequence[AskedTurn | SaidTurn], limits: Limits) -> tuple[Message, ...]:
    """The conversation. Raises Refusal (400), which names the message."""
    if len(messages) > limits.messages:
        raise Refusal(400, f"at most {limits.messages} messages are read.", code="too_many", param="messages")
    talk, count = [], 0
    for place, turn in enumerate(messages):
        role = "system" if turn.role == "developer" else turn.role
        if isinstance(turn.content, str):
            talk.append(Message(role, turn.content))
            continue
        images = []
        for at, part in enumerate(turn.content):
            if isinstance(part, ImagePart):
                count += 1
                param = f"messages[{place}].content[{at}].image_url.url"
                if count > limits.images:
                    raise Refusal(400, f"at most {limits.images} images are read.", code="too_many", param=param)
                images.append(_picture(part.image_url.url, limits, param))
        text = "\n".join(part.text for part in turn.content if not isinstance(part, ImagePart))
        talk.append(Message(role, text, tuple(images)))
    while talk and not talk[-1].text.strip() and not talk[-1].images:
        talk.pop()  # the beginning of an answer of which nothing is written yet
    if not any(turn.role == "user" for turn in talk):
        raise Refusal(400, "no message is the user's; ask something.", code="no_question", param="messages")
    return tuple(talk)


def _picture(url: str, limits: Limits, param: str) -> Image:
    if len(url) > limits.image_bytes * 4 // 3 + 100:
        raise Refusal(400, f"an image has at most {limits.image_bytes} bytes.", code="image_too_large", param=param)
    try:
        image = Image.from_url(url)
    except InputError:
        raise _broken(param) from None
    width, height = _size(image.data, param)
    if width * height > limits.image_pixels:
        raise Refusal(400, f"an image has at most {limits.image_pixels} pixels.", code="image_too_large", param=param)
    return image


def _size(data: bytes, param: str) -> tuple[int, int]:
    from PIL import Image as Pictures

    try:
        with warnings.catch_warnings(action="ignore"), Pictures.open(BytesIO(data), formats=FORMATS) as picture:
            return picture.size
    except Pictures.DecompressionBombError:
        return (2**31, 1)
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, struct.error):
        raise _broken(param) from None


def _broken(param: str) -> Refusal:
    kinds = ", ".join(FORMATS)
    return Refusal(400, f"an image cannot be read; send {kinds} as base64.", code="invalid_image", param=param)
