"""Real photographs and diagrams of any size through tiny random models of every kind: encode, link, decode, answer.

What is shown is that every size and shape passes, in real bytes; the models know nothing, so there is no score.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from aiflow.bench.tofc import tiny
from aiflow.clock import VirtualClock
from aiflow.cluster.links import EmulatedLink
from aiflow.collaboration.tofc.adapters import adapter
from aiflow.collaboration.tofc.adapters.halves import device_half, server_half
from aiflow.collaboration.tofc.codec import Codec, CodecConfig
from aiflow.collaboration.tofc.decoder import Decoder
from aiflow.collaboration.tofc.encoder import Encoder
from aiflow.errors import AiflowError, DataError

TOKENS, LEVEL = 8, 1
STEPS = (1.0, 0.5)
BEFORE, BEHIND = (5, 9, 14, 3), (7, 21, 8, 30, 11)
"""Token ids around the image."""
SAMPLES = ((300, 400), (400, 300), (500, 500), (120, 640))
"""Sizes of the drawn pictures that set the codec's basis."""
RATE, RTT = 0.5e6, 0.02
"""Of the link: bytes/s, seconds."""
SHOWN = 5
"""Failures that a result names."""


@dataclass(frozen=True, kw_only=True)
class Passed:
    """One image, through an emulated link of ``RATE``.

    Attributes:
        nbytes: of its message.
        link_seconds: that the message took.
        places: of the image in the full prompt.
        tokens: that it took of the language model's input.
        error: squared, of the decoded features against the merged ones, over the variance of these.
    """

    nbytes: int
    link_seconds: float
    places: int
    tokens: int
    error: float


class Pair:
    """Both parties of one kind of model, with a codec that fits it."""

    def __init__(self, kind: str) -> None:
        model = tiny.model(kind)
        self.processor, self.own = tiny.processor(kind), adapter(model)
        torch.manual_seed(0)
        self.codec = Codec(CodecConfig(channels=self.own.channels, basis=8, hidden=16, hyper=4, levels=len(STEPS)))
        with torch.inference_mode():
            samples = [x for size in SAMPLES for x in self.own.tiles(self.inputs(tiny.picture(*size)))]
            samples += [x + 0.1 * torch.randn_like(x) for x in samples]  # as many as channels, whatever the kind
        self.codec.requires_grad_(False).start(torch.cat(samples).clone(), STEPS)
        self.encoder, self.decoder = Encoder(device_half(model), self.codec), Decoder(server_half(model), self.codec)

    def inputs(self, picture: Any) -> Any:
        """What the image processor makes of a picture (`PIL.Image`)."""
        return self.processor(images=picture.convert("RGB"), return_tensors="pt")

    @torch.inference_mode()
    def pass_on(self, picture: Any) -> Passed:
        """One picture from the device to the server's logits. Raises an AiflowError if they are not finite."""
        inputs = self.inputs(picture)
        data = self.encoder.encode(inputs, TOKENS, LEVEL)
        link = EmulatedLink(RATE, RTT, clock=VirtualClock())
        arrival = link.reserve(len(data))
        image = self.decoder.image(data)
        prompt = self.decoder.prompt(image, [*BEFORE, tiny.IMAGE, *BEHIND])
        if not bool(self.decoder.logits(prompt).isfinite().all()):
            raise DataError(f"a picture of {picture.size} gives logits that are not finite.")
        pairs = zip(self.own.tiles(inputs), image.tiles, strict=True)
        merged_MC = torch.cat([self.codec.merge(x[None], len(tile.x_MC))[0][0] for x, tile in pairs])
        decoded_MC = torch.cat([tile.x_MC for tile in image.tiles])
        spread = (merged_MC - self.codec.mean).square().mean()
        return Passed(
            nbytes=link.traffic().bytes,
            link_seconds=arrival,
            places=image.layout.count,
            tokens=prompt.embeds_1SH.shape[1] - len(BEFORE) - len(BEHIND),
            error=float((decoded_MC - merged_MC).square().mean() / spread),
        )


def pictures(data: Path) -> list[Path]:
    """The image files below a folder. Raises DataError if there are none."""
    found = sorted(p for p in data.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        raise DataError(f"there are no pictures (.jpg, .png) below {data}; give a folder that has some.")
    return found


def real(data: Path, limit: int | None = None) -> dict[str, Any]:
    """Passes all pictures below a folder, or ``limit`` of them evenly chosen, through every kind.

    Returns how many there are, their mean file size, and by kind: how many passed, bytes of their messages (mean and
    range), places and tokens of an image (means), the mean ``error`` (see `Passed`), seconds, and the failures.

    Raises DataError for a folder without pictures.
    """
    from PIL import Image

    files = pictures(data)
    files = files[:: max(1, len(files) // limit)][:limit] if limit else files
    result: dict[str, Any] = {
        "images": len(files),
        "bytes_in": mean(path.stat().st_size for path in files),
        "tokens": TOKENS,
        "level": LEVEL,
    }
    for kind in tiny.KINDS:
        pair, began = Pair(kind), time.perf_counter()
        passed: list[Passed] = []
        failures: list[str] = []
        for path in files:
            try:
                with Image.open(path) as picture:
                    passed.append(pair.pass_on(picture))
            except (AiflowError, OSError, RuntimeError, ValueError) as error:
                failures.append(f"{path.name}: {error}")
        result[kind] = _summary(passed) | {
            "seconds": time.perf_counter() - began,
            "failures": len(failures),
            "first_failures": failures[:SHOWN],
        }
    return result


def _summary(passed: Sequence[Passed]) -> dict[str, Any]:
    if not passed:
        return {"images": 0}
    sizes = [p.nbytes for p in passed]
    return {
        "images": len(passed),
        "bytes_out": mean(sizes),
        "bytes_out_range": [min(sizes), max(sizes)],
        "link_seconds": mean(p.link_seconds for p in passed),
        "places": mean(p.places for p in passed),
        "tokens": mean(p.tokens for p in passed),
        "error": mean(p.error for p in passed),
    }
