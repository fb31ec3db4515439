"""The messages of the parallel collaboration, from an image to fused depth. Knows no model.

    Picture -> [Encoder] -> Features -> [Near] -> NearMaps --+
                               |                             +-> Fuse -> [Fusion] -> Depth
                               +------> [Far] --> FarMaps ---+

Legend: A anchors, H x W the image, h x w the decoders' maps (the image as the encoder saw it), C channels of a level.
"""

from typing import Annotated, Literal

from pydantic import Field

from aiflow.diffusion.depth.representation import MOST_ANCHORS
from aiflow.diffusion.messages import Array, Hash, Message, Number

Anchors = Annotated[list[Annotated[float, Field(ge=0.05, le=1000)]], Field(min_length=1, max_length=MOST_ANCHORS)]
Size = Annotated[list[Annotated[int, Field(ge=1, le=16384)]], Field(min_length=2, max_length=2)]
"""Rows, columns."""
Branch = Literal["near", "far"]


class Picture(Message):
    """An image to measure. ``dtype``: of the features on the wire; "f2" halves the bytes and costs exactness."""

    image: Array
    """(H, W, 3) uint8."""
    anchors: Anchors
    dtype: Literal["f4", "f2"] = "f4"
    model: Hash = ""
    """The encoder that is meant; empty: any."""


class Features(Message):
    """What the encoder saw, for both decoders."""

    levels: dict[str, Array]
    """"0" (finest) to "3": (C, h_i, w_i), float32 or float16."""
    anchors: Anchors
    size: Size
    """Of the image."""
    inner: Size
    """Of the maps: what the decoders' outputs are cut to."""
    model: Hash
    """The encoder's."""


class Again(Message):
    """The same features once more, under other anchors: answered by a decoder that still keeps them."""

    anchors: Anchors
    model: Hash


class NearMaps(Message):
    """The near decoder's answer."""

    scaled: Array
    """(A, h, w) float32 in [0, 1]: depth / anchor."""
    logit: Array
    """(A, h, w) float32: above 0 where the surface is no farther than the anchor."""
    anchors: Anchors
    size: Size
    model: Hash
    """The encoder's."""


class FarMaps(Message):
    """The far decoder's answer."""

    tapered: Array
    """(A, h, w) float32 in [0, 1]: exp(-rate (depth - anchor))."""
    anchors: Anchors
    taper: Literal["absolute", "relative"]
    k: Annotated[float, Field(gt=0, lt=100)]
    limit: Annotated[float, Field(gt=1, lt=1e6)]
    size: Size
    model: Hash


class Fuse(Message):
    """Both answers, or the one that came."""

    near: bytes | None = None
    """A NearMaps message."""
    far: bytes | None = None
    """A FarMaps message."""


class Depth(Message):
    """The result, at the image's size."""

    depth: Array
    """(H, W) float32, metres; 0 where ``valid`` is false."""
    valid: Array
    """(H, W) bool: a depth is known."""
    sky: Array
    """(H, W) bool: there is no surface."""
    confidence: Array
    """(H, W) float32, 0 to 1."""
    near: Array | None = None
    """(H, W) float32, metres up to the anchor: the near branch alone, over the anchors."""
    far: Array | None = None
    """(H, W) float32, metres from the anchor; the limit where there is no surface."""
    mask: Array | None = None
    """(H, W) float32: share of the anchors for which the pixel is near; of one anchor, the near probability."""
    used: list[Branch]
    """The branches that took part; with one missing, ``valid`` is false where the other cannot know."""
    anchors: Anchors
    advised: Number
    """The anchor that a second pass would use (`representation.automatic`)."""
    size: Size
    model: Hash
