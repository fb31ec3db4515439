"""Images into an encoder's input and maps back to the image's size. Knows encoders by their config alone.

The config says ``width`` (columns to which an image is resized; its shape is kept), ``stride`` (of which rows and
columns become multiples: padded by repeating the edge, or stretched if ``fit`` is "stretch"), ``mean`` and ``std``.

Legend: H W the image, h w as the encoder sees it.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from aiflow.errors import InputError

SMALLEST = 8
LARGEST = 8192
TALLEST = 4.0
"""Rows for each column, or columns for each row."""


def as_image(image: Any) -> NDArray[np.uint8]:
    """``(H, W, 3)`` uint8 of a PIL image or an array: uint8, or floats in [0, 1]; grey is repeated.

    Raises InputError for other shapes, types, NaN, values out of range, or sizes that cannot be used.
    """
    array = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"an image of shape {array.shape} cannot be measured; give (height, width, 3).")
    rows, columns = array.shape[:2]
    if min(rows, columns) < SMALLEST or max(rows, columns) > LARGEST:
        raise InputError(f"an image of {columns} x {rows} pixels cannot be measured; use {SMALLEST} to {LARGEST}.")
    if max(rows / columns, columns / rows) > TALLEST:
        raise InputError(f"an image of {columns} x {rows} pixels is too narrow; cut it to at most 1 : {TALLEST:g}.")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise InputError("an image of floats must lie in [0, 1] without NaN; divide it by 255, or give uint8.")
        array = np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(f"an image of {array.dtype} cannot be measured; give uint8, or floats in [0, 1].")
    return np.ascontiguousarray(array)


def prepare(image_HW3: NDArray[np.uint8], config: Any) -> tuple[Tensor, tuple[int, int]]:
    """The normalised, resized, padded image ``(1, 3, h', w')``, and how much of it is image ``(h, w)``."""
    x = torch.from_numpy(image_HW3.copy()).permute(2, 0, 1)[None].float() / 255
    rows, columns = image_HW3.shape[:2]
    inner = (max(SMALLEST, round(rows * config.width / columns)), int(config.width))
    if getattr(config, "fit", "pad") == "stretch":
        inner = (max(1, round(inner[0] / config.stride)) * config.stride, inner[1])
    if (rows, columns) != inner:
        x = F.interpolate(x, size=inner, mode="bilinear", align_corners=False, antialias=True)
    mean, std = (torch.tensor(list(v)).reshape(1, 3, 1, 1) for v in (config.mean, config.std))
    bottom, right = (-n % config.stride for n in inner)
    return F.pad((x - mean) / std, (0, right, 0, bottom), mode="replicate"), inner


def inside(inner: tuple[int, int], padded: Tensor, finest: Tensor) -> tuple[int, int]:
    """How much of the decoders' maps, twice as large as the finest level, is image."""
    rows, columns = (round(n * 2 * f / p) for n, f, p in zip(inner, finest.shape[-2:], padded.shape[-2:], strict=True))
    return rows, columns
