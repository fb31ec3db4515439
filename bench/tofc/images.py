"""The image codecs that features are compared with: JPEG and WebP by Pillow, whole files with their headers."""

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Format = Literal["jpeg", "webp"]
QUALITIES: dict[Format, tuple[int, ...]] = {
    "jpeg": (3, 8, 12, 15, 20, 30, 50, 75, 95),
    "webp": (0, 3, 8, 15, 30, 50, 75, 95),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Sent:
    """A picture after the way through an image codec, and the size of its file."""

    image: Pixels
    nbytes: int


def send(image: Pixels, kind: Format, quality: int) -> Sent:
    """Encodes a picture (height, width, 3) as small as the format's encoder can (4:2:0), and decodes it again."""
    data = file(image, kind, quality)
    return Sent(image=opened(data), nbytes=len(data))


def file(image: Pixels, kind: Format, quality: int) -> bytes:
    """The whole file."""
    from PIL import Image

    options: dict[Format, dict[str, Any]] = {"jpeg": {"optimize": True}, "webp": {"method": 6}}
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind.upper(), quality=quality, **options[kind])
    return buffer.getvalue()


def opened(data: bytes) -> Pixels:
    """The picture in a file."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
