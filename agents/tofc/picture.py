"""The forms in which a caller may have an image. Knows no model."""

import io
from pathlib import Path
from typing import Any

from aiflow.errors import InputError
from aiflow.types import Image


def picture(value: Any) -> Image:
    """From an Image, the bytes or the path of a picture file, a data URL, a PIL image, or an array of pixels.

    Arrays are (height, width) or (height, width, 3 or 4) of uint8; they and PIL images become PNG.
    Raises InputError.
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, bytes):
        return Image(value)
    if isinstance(value, str) and value.startswith("data:"):
        return Image.from_url(value)
    if isinstance(value, str | Path):
        return _file(Path(value))
    import PIL.Image

    drawn = value if isinstance(value, PIL.Image.Image) else _drawn(value)
    data = io.BytesIO()
    drawn.convert("RGB").save(data, "PNG")
    return Image(data.getvalue())


def _file(path: Path) -> Image:
    try:
        return Image(path.expanduser().read_bytes())
    except OSError as error:
        raise InputError(f"image {str(path)!r} cannot be read ({error.strerror}); pass the path of a file.") from error


def _drawn(value: Any) -> Any:
    import numpy as np
    import PIL.Image

    shape = getattr(value, "shape", ())
    if (
        not isinstance(value, np.ndarray)
        or value.dtype != np.uint8
        or shape[2:] not in ((), (3,), (4,))
        or not value.size
    ):
        what = f"{value.dtype} {shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(
            f"{what} is no image; give a path, the bytes of a file, a PIL image, or uint8 (height, width, 3)."
        )
    return PIL.Image.fromarray(value)
