"""Latency of an answer against the link's rate, in three parts: device, link, server. Form: AI Flow, Fig. 5.

Computing is measured, on this machine for both ends; the link is emulated. Two shapes: the nano family's own model, and
a model with random weights in the proportions of LLaVA-OneVision-7B (one tile of 729 features, a language model with
17 times the tower's parameters) and a picture of its encoder's size, since what a vision language model's prefill costs
beside its link shows at that shape only. The baseline sends the picture's file, and the server does everything.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiflow.bench.tofc import images
from aiflow.clock import VirtualClock
from aiflow.cluster.links import EmulatedLink
from aiflow.collaboration.tofc.codec import CodecConfig
from aiflow.collaboration.tofc.model import Compressor
from aiflow.collaboration.tofc.sequence import kept
from aiflow.collaboration.tofc.stream import Coder
from aiflow.nano.family.exam import Seen

RATES = (0.25e6, 0.5e6, 1e6, 2e6, 4e6, 8e6)
"""Bytes/s."""
RTT = 0.01
QUESTION, ANSWER = 30, 2
"""Tokens of a prompt's text, and of an answer (MME asks for yes or no)."""
SIDE, PATCH = 384, 14
TOWER = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 1, "num_attention_heads": 4}
TEXT = {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 6, "num_attention_heads": 10}
TOKENS, VOCABULARY, IMAGE = 32, 2000, 3
QUALITY: dict[images.Format, int] = {"jpeg": 75, "webp": 75}
"""Of the pictures' files; the smaller format counts."""
NANO = (16, 1)
"""Tokens and level of the nano model."""
REPEATS = 7
SLOPE = 1.5
"""Of the spectrum of random pictures. Photographs have 1, but edges, which random phases lack, make them compress."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model with its codec, a prompt for it, and how its pictures become pixels."""

    name: str
    model: Compressor
    ids_1T: Tensor
    pixels: Callable[[Any], Tensor]
    tokens: int
    level: int
    answer: int


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds and bytes of one request, means over pictures of medians: features, and each image format.

    ``original_bytes``: of the pictures' files in their own size, where that is another.
    """

    device: float
    server: float
    nbytes: float
    upload_server: float
    upload_bytes: dict[str, float]
    original_bytes: dict[str, float] | None = None


def published(seed: int = 0) -> Shape:
    """Random weights in the proportions of LLaVA-OneVision-7B; times do not depend on weights."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, Qwen2Config, SiglipVisionConfig

    torch.manual_seed(seed)
    N = (SIDE // PATCH) ** 2
    config = LlavaConfig(
        text_config=Qwen2Config(**TEXT, vocab_size=VOCABULARY, num_key_value_heads=2, tie_word_embeddings=True),
        vision_config=SiglipVisionConfig(**TOWER, image_size=SIDE, patch_size=PATCH),
        image_token_id=IMAGE,
        image_seq_length=N,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    backbone = LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    width = TOWER["hidden_size"]
    made = Compressor(backbone, CodecConfig(channels=width, basis=width, levels=1, tokens=(TOKENS,)))
    with torch.inference_mode():
        sample = torch.cat([made.adapter.features(_pixels(natural(seed + i)))[0] for i in range(3)])
    made.codec.start(sample, (1.0,))
    ids = torch.cat([torch.full((N,), IMAGE), torch.randint(4, VOCABULARY, (QUESTION,))])
    return Shape(
        name="LLaVA-OneVision-7B in proportion",
        model=made.eval(),
        ids_1T=ids[None],
        pixels=_pixels,
        tokens=TOKENS,
        level=0,
        answer=ANSWER,
    )


def nano(folder: Path, tokens: int, level: int) -> Shape:
    """The nano family's model with its codec, and a question of a suite."""
    from transformers import AutoTokenizer

    from aiflow.bench.tofc.rate import models
    from aiflow.nano.family.exam import Exam
    from aiflow.nano.family.model import pixels

    exam = Exam(AutoTokenizer.from_pretrained(folder), 1, ["realworldqa"])
    return Shape(
        name="nano",
        model=models(folder)[1],
        ids_1T=torch.tensor([exam.prompts[0]]),
        pixels=lambda picture: pixels(picture[None]),
        tokens=tokens,
        level=level,
        answer=ANSWER,
    )


def nano_times(folder: Path) -> dict[int, tuple[float, float]]:
    """By number of tokens, device and server seconds of the nano model."""
    shape = nano(folder, 1, 0)
    found = {}
    for tokens in shape.model.codec.config.tokens:
        cost = costs(replace(shape, tokens=tokens), _scenes(3), QUALITY)
        found[tokens] = (cost.device, cost.server)
    return found


def run(folder: Path, data: Path | None) -> dict[str, Any]:
    """Both shapes over all rates; pictures from ``data``, if it is given, for the larger one."""
    originals = photographs(data) if data else []
    large = [resized(p) for p in originals] or [natural(i) for i in range(4)]
    small = nano(folder, *NANO)
    result: dict[str, Any] = {"pictures": "photographs" if data else "random, as large as photographs"}
    for key, shape, pictures in (("latency", published(), large), ("latency_nano", small, _scenes(4))):
        cost = costs(shape, pictures, QUALITY)
        if originals and key == "latency":
            cost = replace(cost, original_bytes=_sizes(originals, QUALITY))
        result[key] = over_rates(cost)
        result[f"{key}_costs"] = {"shape": shape.name, "tokens": shape.tokens, **asdict(cost)}
    return result


def _scenes(count: int) -> list[images.Pixels]:
    from aiflow.nano.visual.suites import suite

    return [item.image for item in suite("realworldqa", count)]


def natural(seed: int, side: int = SIDE) -> images.Pixels:
    """A random picture (side, side, 3) whose files are as large as those of photographs (JPEG 75: some 18 KB)."""
    rng = np.random.default_rng(seed)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    f[0, 0] = 1 / side
    spectrum = np.fft.fft2(rng.standard_normal((3, side, side))) / f**SLOPE
    grey = np.fft.ifft2(spectrum).real
    grey = 0.8 * grey[:1] + 0.2 * grey  # the channels of photographs say nearly the same
    grey = (grey - grey.mean((1, 2), keepdims=True)) / grey.std((1, 2), keepdims=True)
    return np.asarray((128 + 50 * grey).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def photographs(folder: Path, count: int = 12) -> list[images.Pixels]:
    """Pictures below a folder in their own size, evenly chosen. Raises DataError if there are none."""
    from PIL import Image

    from aiflow.bench.tofc.real import pictures

    files = pictures(folder)
    return [np.asarray(Image.open(p).convert("RGB")) for p in files[:: max(1, len(files) // count)][:count]]


def resized(picture: images.Pixels) -> images.Pixels:
    """A picture in the encoder's size."""
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE)))


def costs(shape: Shape, pictures: Sequence[images.Pixels], quality: dict[images.Format, int]) -> Costs:
    """Measures one shape on pictures; ``quality`` of each image format."""
    coder = Coder(shape.model.codec)
    rows = [_one(shape, coder, picture, images.file(picture, "jpeg", quality["jpeg"])) for picture in pictures]
    device, server, nbytes, whole = (fmean(column) for column in zip(*rows, strict=True))
    sizes = _sizes(pictures, quality)
    return Costs(device=device, server=server, nbytes=nbytes, upload_server=whole, upload_bytes=sizes)


def _sizes(pictures: Sequence[images.Pixels], quality: dict[images.Format, int]) -> dict[str, float]:
    return {str(kind): fmean(len(images.file(p, kind, q)) for p in pictures) for kind, q in quality.items()}


def _one(shape: Shape, coder: Coder, picture: images.Pixels, file: bytes) -> tuple[float, float, int, float]:
    """Of one picture: device and server seconds of its features, their bytes, server seconds of its file."""
    model = shape.model

    def encode() -> bytes:
        with torch.inference_mode():
            x_NC = model.adapter.features(shape.pixels(picture))[0]
        return coder.encode([x_NC], shape.tokens, shape.level)

    data = encode()

    def serve() -> None:
        tile = coder.decode(data).tiles[0]
        _answer(shape, Seen(x_MC=tile.x_MC, places_M=tile.places_M, nbytes=len(data)))

    def upload() -> None:
        with torch.inference_mode():
            x_NC = model.adapter.features(shape.pixels(images.opened(file)))[0]
        _answer(shape, Seen(x_MC=x_NC, places_M=torch.arange(len(x_NC)), nbytes=len(file)))

    return seconds(encode), seconds(serve), len(data), seconds(upload)


def over_rates(found: Costs) -> list[dict[str, float]]:
    """Each rate: seconds of the features' way and its parts, of the smaller image format's, and their ratio.

    ``original_upload``: of the picture's file in its own size, where that is another.
    """
    file = min(found.upload_bytes.values())
    original = min(found.original_bytes.values()) if found.original_bytes else None
    rows = []
    for rate in RATES:
        ours, theirs = _link(rate, found.nbytes), _link(rate, file)
        tofc, upload = found.device + ours + found.server, theirs + found.upload_server
        rows.append(
            {
                "rate": rate,
                "tofc": tofc,
                "image_upload": upload,
                "ratio": tofc / upload,
                "device": found.device,
                "link": ours,
                "server": found.server,
                "upload_link": theirs,
                "upload_server": found.upload_server,
            }
            | ({"original_upload": _link(rate, original) + found.upload_server} if original else {})
        )
    return rows


def seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The median time of a piece of work, after one untimed turn."""
    work()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return median(taken)


@torch.inference_mode()
def _answer(shape: Shape, seen: Seen) -> None:
    model = shape.model
    place_1S = kept(shape.ids_1T, model.adapter.image_token, seen.places_M[None])
    ids_1S = shape.ids_1T.gather(1, place_1S)
    model.backbone.generate(
        inputs_embeds=model.place(ids_1S, seen.x_MC[None]),
        attention_mask=torch.ones_like(ids_1S),
        position_ids=place_1S,
        max_new_tokens=shape.answer,
        min_new_tokens=shape.answer,
        do_sample=False,
        pad_token_id=0,
    )


def _link(rate: float, nbytes: float) -> float:
    """Seconds of a request over an emulated link, and of its answer's way back."""
    link = EmulatedLink(rate, RTT, clock=VirtualClock())
    return link.reserve(round(nbytes)) + RTT / 2


def _pixels(picture: images.Pixels) -> Tensor:
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
    return x / 127.5 - 1
