"""From an image to metric depth in one process: the encoder once, near and far decoders for each anchor, fusion.

A `DiffusionPipeline` for saving, loading and moving alone: nothing is sampled. Every stage runs with the other
components None: features may be given, and a missing branch leaves the other's depth, marked. Source: section IV-B2.

Legend: A anchors, C channels, h w of a level, H W of the image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from aiflow.diffusion.depth import backbone, fusing, model, vision
from aiflow.diffusion.depth.representation import ANCHORS, Taper, anchors_tensor, automatic
from aiflow.diffusion.files import fingerprint
from aiflow.errors import InputError, WeightsError

FIRST = 10.0
"""Metres: the anchor of the first pass of "auto"."""
COMPONENTS = (model.ConvEncoder, backbone.BackboneEncoder, model.NearDecoder, model.FarDecoder)
"""What a saved folder may name; diffusers loads only classes whose modules are imported."""
Callback = Callable[[Any, int, int, dict[str, Any]], dict[str, Any] | None]


@dataclass
class DepthOutput(BaseOutput):
    """Depth in metres, and what produced it. Arrays are numpy ("np") or tensors ("pt"), all ``(H, W)``."""

    depth: Any
    """Infinite where there is no surface, NaN where nothing is known (a branch was missing)."""
    near: Any
    far: Any
    mask: Any
    """Probability of being near; of several anchors, their mean. None without the near branch, as ``near`` is."""
    confidence: Any
    anchors: list[float]
    used: list[str]
    """The branches that took part."""
    model: str
    """The encoder's fingerprint when the pipeline was put together; empty without an encoder."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """An encoder's output for one image, with what is needed to get back to it."""

    levels: list[Tensor]
    size: tuple[int, int]
    inner: tuple[int, int]


class NearFarDepthPipeline(DiffusionPipeline):
    """Metric depth by near and far decoders that share an encoder.

    Args:
        encoder: image to four levels (`ConvEncoder`, `BackboneEncoder`).
        near: `NearDecoder`, or None.
        far: `FarDecoder`, or None.
        anchors: the pool of ``anchor="pool"`` and ``"auto"``, metres.

    Raises WeightsError if a decoder belongs to another encoder.
    """

    model_cpu_offload_seq = "encoder->near->far"  # type: ignore[assignment]
    _optional_components = ["encoder", "near", "far"]  # noqa: RUF012

    def __init__(self, encoder: Any, near: Any = None, far: Any = None, anchors: Sequence[float] = ANCHORS) -> None:
        super().__init__()
        anchors_tensor(anchors)
        self.register_modules(encoder=encoder, near=near, far=far)  # type: ignore[no-untyped-call]
        self.register_to_config(anchors=list(anchors))  # type: ignore[no-untyped-call]
        self._check()

    @property
    def pool(self) -> list[float]:
        """The anchors of "pool" and "auto"."""
        config: Any = self.config
        return [float(a) for a in config.anchors]

    def _check(self) -> None:
        self._said = found = fingerprint(self.encoder) if self.encoder is not None else ""
        if not found:
            return
        for name in ("near", "far"):
            wanted = getattr(getattr(self, name), "config", None)
            if wanted is not None and wanted.encoder not in ("", found):
                raise WeightsError(
                    f"the {name} decoder belongs to encoder {wanted.encoder}, not {found}; load all from one folder."
                )

    def save_pretrained(self, save_directory: Any, *args: Any, **options: Any) -> None:
        """Saves the components; each decoder's config then says which encoder it belongs to."""
        if self.encoder is not None:
            for decoder in (self.near, self.far):
                if decoder is not None:
                    decoder.register_to_config(encoder=fingerprint(self.encoder))
        super().save_pretrained(save_directory, *args, **options)

    @torch.no_grad()
    def encode(self, image: Any) -> Levels:
        """The features of an image; once for any number of anchors. Raises InputError."""
        if self.encoder is None:
            raise InputError("this pipeline has no encoder; give features, or load the encoder.")
        array = vision.as_image(image)
        x, inner = vision.prepare(array, self.encoder.config)
        levels = self.encoder(x.to(self.encoder.device, self.encoder.dtype))
        return Levels(
            levels=list(levels), size=(array.shape[0], array.shape[1]), inner=vision.inside(inner, x, levels[0])
        )

    @torch.no_grad()
    def __call__(
        self,
        image: Any = None,
        anchor: float | Sequence[float] | Literal["auto", "pool"] = "pool",
        features: Levels | None = None,
        output_type: Literal["np", "pt"] = "np",
        return_dict: bool = True,
        callback_on_step_end: Callback | None = None,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> DepthOutput | tuple[Any, ...]:
        """Measures one image.

        Args:
            image: PIL, or ``(H, W, 3)`` uint8 or floats in [0, 1].
            anchor: metres; several; "pool" (mean log depth over the pool); "auto" (10 m, then the one it advises).
            features: instead of the image, from `encode`.
            output_type: "np" or "pt".
            return_dict: a `DepthOutput`, else its values.
            callback_on_step_end: called after each anchor with (pipeline, number, anchor in metres, maps of it).
            generator: ignored; nothing is drawn.

        Raises InputError.
        """
        if (image is None) == (features is None):
            raise InputError("give an image or features, one of them.")
        if output_type not in ("np", "pt"):
            raise InputError(f"the output type {output_type!r} is unknown; use 'np' or 'pt'.")
        seen = features if features is not None else self.encode(image)
        anchors = self._anchors(anchor)
        fused = self._measure(seen, anchors, callback_on_step_end)
        if anchor == "auto":
            anchors = [automatic(fused.depth, self.pool)]
            fused = self._measure(seen, anchors, callback_on_step_end, done=1)
        self.maybe_free_model_hooks()  # type: ignore[no-untyped-call]
        output = self._output(fused, anchors, output_type)
        return output if return_dict else output.to_tuple()

    def _anchors(self, anchor: Any) -> list[float]:
        if isinstance(anchor, str):
            if anchor not in ("auto", "pool"):
                raise InputError(f"the anchor {anchor!r} is unknown; use metres, 'auto' or 'pool'.")
            return [FIRST] if anchor == "auto" else self.pool
        anchors = [float(a) for a in (anchor if isinstance(anchor, Sequence) else [anchor])]
        anchors_tensor(anchors)
        return anchors

    def _measure(self, seen: Levels, anchors: list[float], callback: Callback | None, done: int = 0) -> fusing.Fused:
        scaled, logits, tapers = [], [], []
        for number, anchor in enumerate(anchors):
            one = anchors_tensor([anchor])
            maps: dict[str, Any] = {}
            if self.near is not None:
                near, logit = fusing.near_maps(self.near, seen.levels, one.to(self.near.device), seen.inner)
                scaled.append(near.cpu())
                logits.append(logit.cpu())
                maps |= {"scaled": scaled[-1], "logit": logits[-1]}
            if self.far is not None:
                tapers.append(fusing.far_maps(self.far, seen.levels, one.to(self.far.device), seen.inner).cpu())
                maps["tapered"] = tapers[-1]
            if callback:
                callback(self, done + number, round(anchor), maps)
        config = None if self.far is None else self.far.config
        return fusing.fuse_maps(
            anchors_tensor(anchors),
            seen.size,
            scaled=torch.cat(scaled) if scaled else None,
            logit=torch.cat(logits) if logits else None,
            tapered_=torch.cat(tapers) if tapers else None,
            taper=Taper(kind=config.taper, k=config.k, limit=config.limit) if config else Taper(),
            pool=self.pool,
        )

    def _output(self, fused: fusing.Fused, anchors: list[float], output_type: str) -> DepthOutput:
        def form(x: Tensor | None) -> Any:
            return x if x is None or output_type == "pt" else x.numpy()

        return DepthOutput(
            depth=form(fused.depth),
            near=form(fused.near),
            far=form(fused.far),
            mask=form(fused.mask),
            confidence=form(fused.confidence),
            anchors=anchors,
            used=list(fused.used),
            model=self._said,
        )
