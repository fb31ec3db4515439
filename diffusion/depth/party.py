"""The parties of the parallel collaboration: encoder, near, far, fusion. Each holds its own network, and nothing else.

Near and far need no word from each other, so they can run at the same time on different nodes. A decoder keeps the last
features by request, so that other anchors cost a small message. Knows no clock and no link. Source: section IV-B2.

Legend: A anchors, H W the image, h w the maps, C channels.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from aiflow.diffusion.depth import fusing, vision
from aiflow.diffusion.depth.representation import Taper, anchors_tensor
from aiflow.diffusion.depth.wire import Again, Branch, Depth, FarMaps, Features, Fuse, NearMaps, Picture
from aiflow.diffusion.files import fingerprint, load
from aiflow.diffusion.messages import Message, Party, decode, encode, same, shaped
from aiflow.errors import InputError, MessageError, suggest

__all__ = [
    "Again",
    "Depth",
    "Encoder",
    "Far",
    "FarMaps",
    "Features",
    "Fuse",
    "Fusion",
    "Near",
    "NearMaps",
    "Picture",
    "party",
]

Role = Literal["encoder", "near", "far", "fusion"]
BRANCHES: tuple[Branch, ...] = ("near", "far")
KEPT = 4
"""Requests whose features a decoder keeps."""


class Encoder:
    """Picture -> Features."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder.eval()
        self.model = fingerprint(encoder)

    def handle(self, payload: bytes) -> bytes:
        """Raises InputError for an image that cannot be used, a ProtocolError for bytes not to be trusted."""
        message = decode(payload, Picture)
        if message.model:
            same("encoder", self.model, message.model, of="the picture")
        if message.image.dtype != np.uint8:
            raise MessageError(f"image has the dtype {message.image.dtype}, expected uint8.")
        image = vision.as_image(message.image)
        x, inner = vision.prepare(image, self.encoder.config)
        with torch.no_grad():
            levels = self.encoder(x)
        answer = Features(
            request=message.request,
            levels={str(i): level[0].numpy().astype(message.dtype) for i, level in enumerate(levels)},
            anchors=message.anchors,
            size=list(image.shape[:2]),
            inner=list(vision.inside(inner, x, levels[0])),
            model=self.model,
        )
        return encode(answer)


class _Decoder:
    """What near and far have in common."""

    def __init__(self, decoder: Any, encoder: str = "", keep: int = KEPT) -> None:
        self.decoder = decoder.eval()
        self.encoder = encoder or decoder.config.encoder
        self._keep = keep
        self._kept: OrderedDict[str, Features] = OrderedDict()

    def handle(self, payload: bytes) -> bytes:
        """Raises a ProtocolError for bytes not to be trusted, features of another encoder, or features not kept."""
        message: Any = decode(payload, Features, Again)
        same("encoder", self.encoder, message.model, of="the message")
        if isinstance(message, Again):
            if message.request not in self._kept:
                raise MessageError(f"the features of {message.request!r} are not kept here; send them again.")
            features = self._kept[message.request].model_copy(update={"anchors": message.anchors})
        else:
            features = message
        answer = self._answer(features, self._levels(features), anchors_tensor(features.anchors))
        if self._keep:
            self._kept[features.request] = features
            self._kept.move_to_end(features.request)
            while len(self._kept) > self._keep:
                self._kept.popitem(last=False)
        return encode(answer)

    def _levels(self, features: Features) -> list[Tensor]:
        """``(1, C, h_i, w_i)`` each."""
        channels = self.decoder.config.channels
        if list(features.levels) != [str(i) for i in range(len(channels))]:
            raise MessageError(
                f"the features have the levels {list(features.levels)}, expected {len(channels)} of them."
            )
        levels = []
        for (name, array), count in zip(features.levels.items(), channels, strict=True):
            if array.dtype.kind != "f":
                raise MessageError(f"level {name} has the dtype {array.dtype}, expected floats.")
            shaped(f"level {name}", array, (count, None, None))
            levels.append(torch.from_numpy(array.astype(np.float32))[None])
        finest = [2 * n for n in levels[0].shape[-2:]]
        if any(inner > n for inner, n in zip(features.inner, finest, strict=True)):
            raise MessageError(f"the features say {features.inner} of {finest} rows and columns are image.")
        return levels

    def _answer(self, features: Features, levels: list[Tensor], anchor_A11: Tensor) -> Message:
        raise NotImplementedError


class Near(_Decoder):
    """Features -> NearMaps. ``encoder``: the fingerprint of the encoder it belongs to; else its config's."""

    def _answer(self, features: Features, levels: list[Tensor], anchor_A11: Tensor) -> NearMaps:
        scaled_Ahw, logit_Ahw = fusing.near_maps(self.decoder, levels, anchor_A11, features.inner)
        return NearMaps(
            request=features.request,
            scaled=scaled_Ahw.numpy(),
            logit=logit_Ahw.numpy(),
            anchors=features.anchors,
            size=features.size,
            model=self.encoder,
        )


class Far(_Decoder):
    """Features -> FarMaps. ``encoder``: as for Near."""

    def _answer(self, features: Features, levels: list[Tensor], anchor_A11: Tensor) -> FarMaps:
        config = self.decoder.config
        return FarMaps(
            request=features.request,
            tapered=fusing.far_maps(self.decoder, levels, anchor_A11, features.inner).numpy(),
            anchors=features.anchors,
            taper=config.taper,
            k=config.k,
            limit=config.limit,
            size=features.size,
            model=self.encoder,
        )


class Fusion:
    """Fuse -> Depth. Has no network: what the maps mean is in their messages."""

    def __init__(self, pool: Sequence[float] = fusing.ANCHORS) -> None:
        self.pool = list(pool)

    def handle(self, payload: bytes) -> bytes:
        """Raises MessageError if no branch came, or if the two do not belong together."""
        message = decode(payload, Fuse)
        near = decode(message.near, NearMaps) if message.near is not None else None
        far = decode(message.far, FarMaps) if message.far is not None else None
        first = near or far
        if first is None:
            raise MessageError(f"neither branch of {message.request!r} came; there is nothing to fuse.")
        for one in (near, far):
            if one is not None:
                _belongs(message, first, one)
        taper = Taper(kind=far.taper, k=far.k, limit=far.limit) if far else Taper()
        result = fusing.fuse_maps(
            anchors_tensor(first.anchors),
            (first.size[0], first.size[1]),
            scaled=_maps("scaled", near.scaled, first) if near else None,
            logit=_maps("logit", near.logit, first) if near else None,
            tapered_=_maps("tapered", far.tapered, first) if far else None,
            taper=taper,
            pool=self.pool,
        )
        return encode(_message(message.request, result, first))


def _belongs(message: Fuse, first: NearMaps | FarMaps, one: NearMaps | FarMaps) -> None:
    for name, mine, theirs in (
        ("request", message.request, one.request),
        ("anchors", first.anchors, one.anchors),
        ("size", first.size, one.size),
        ("encoder", first.model, one.model),
    ):
        if mine != theirs:
            raise MessageError(f"the maps to be fused differ in their {name}: {mine!r} and {theirs!r}.")


def _maps(name: str, array: Any, first: NearMaps | FarMaps) -> Tensor:
    like = first.scaled if isinstance(first, NearMaps) else first.tapered
    shaped(name, array, (len(first.anchors), *like.shape[1:]))
    if array.dtype != np.float32 or array.ndim != 3 or not array.size:
        raise MessageError(f"{name} has the dtype {array.dtype} and shape {array.shape}, expected float32 (A, h, w).")
    if name != "logit" and (array.min() < 0 or array.max() > 1 + 1e-4):
        raise MessageError(f"{name} lies in [{array.min():.3g}, {array.max():.3g}], expected [0, 1].")
    return torch.from_numpy(array.copy())


def _message(request: str, fused: fusing.Fused, first: NearMaps | FarMaps) -> Depth:
    def array(x: Tensor | None) -> Any:
        return None if x is None else x.numpy()

    return Depth(
        request=request,
        depth=array(torch.where(fused.valid, fused.depth, 0.0)),
        valid=array(fused.valid),
        sky=array(fused.sky),
        confidence=array(fused.confidence),
        near=array(fused.near),
        far=array(fused.far),
        mask=array(fused.mask),
        used=[name for name in BRANCHES if name in fused.used],
        anchors=first.anchors,
        advised=fused.advised,
        size=first.size,
        model=first.model,
    )


def party(name: str | Path, role: Role) -> Party:
    """One party of a saved pipeline (``depth``: the one that ships), with that component alone in memory.

    Raises InputError for an unknown role, UnknownModelError, WeightsError.
    """
    if role not in get_args(Role):
        raise InputError(f"{role!r} is no party of depth; {suggest(role, list(get_args(Role)))}")
    others: dict[str, Any] = {part: None for part in ("encoder", "near", "far") if part != role}
    pipeline = load(name, **others)
    makers: dict[str, Callable[[], Party]] = {
        "encoder": lambda: Encoder(pipeline.encoder),
        "near": lambda: Near(pipeline.near),
        "far": lambda: Far(pipeline.far),
        "fusion": lambda: Fusion(pipeline.config.anchors),
    }
    return makers[role]()
