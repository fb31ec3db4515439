"""How long merging takes, and coding an image of 32 tokens: sizes of the nano family and of LLaVA-OneVision.

Times are of this machine, warm, the median of several and the least; ``cpu_ms`` is what all threads spent, which other
work on the machine changes less. Weights are random, with rates as trained ones have them.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from aiflow.bench.threads import cpu_threads
from aiflow.collaboration.tofc.codec import Codec, CodecConfig
from aiflow.collaboration.tofc.merging import cluster
from aiflow.collaboration.tofc.stream import Coder

STEPS = (2.0, 1.0, 0.5, 0.25)
LEVEL = 1
"""Of the measurements: about two bits per value."""
TOKENS, REPEATS = 32, 15
NANO = (CodecConfig(channels=128, basis=48, hidden=256, hyper=16), 64)
LARGE = (CodecConfig(channels=1152, basis=1152, hidden=512, hyper=64), 729)
"""Sizes, and features of an image."""
BARS = {"merging": 60.0, "coding": 15.0}
"""Milliseconds: merging 729 features of 1152 channels on two cores, coding and decoding 32 merged ones."""


@torch.no_grad()
def plausible(config: CodecConfig, seed: int = 0) -> tuple[Codec, torch.Tensor]:
    """A codec with random weights whose scales vary and fit its features, and such features (4 C, C)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec = Codec(config)
    spectrum_C = torch.arange(1, config.channels + 1) ** -0.3
    axes_CC = torch.linalg.qr(torch.randn(config.channels, config.channels, generator=generator))[0]
    x_NC = torch.randn(4 * config.channels, config.channels, generator=generator) * spectrum_C @ axes_CC + 0.1
    codec.start(x_NC, (STEPS * config.levels)[: config.levels])
    models = codec.models
    for name, deviation in (("out_bias", 0.7), ("prior_mean", 0.5), ("level", 0.1)):
        for weight in getattr(models, name):
            weight.add_(torch.randn(weight.shape, generator=generator) * deviation)
    codec.router.out.weight.mul_(8)  # so that all models are chosen
    for weight in models.prior_scale:
        weight.fill_(1.0)
    return codec, x_NC


def speed() -> dict[str, Any]:
    """Milliseconds with one thread and with two, and whether the better of them holds the bars."""
    found: dict[str, Any] = {"bars": BARS, "tokens": TOKENS, "repeats": REPEATS}
    for threads in (1, 2):
        with cpu_threads(threads):
            found[f"threads_{threads}"] = {"nano": _image(*NANO), "large": _image(*LARGE)}
    large = [found[f"threads_{threads}"]["large"] for threads in (1, 2)]
    found["held"] = {name: min(each[name]["median_ms"] for each in large) <= bar for name, bar in BARS.items()}
    return found


def _image(config: CodecConfig, features: int) -> dict[str, Any]:
    codec, x_NC = plausible(config)
    x_NC = x_NC[:features] if len(x_NC) >= features else x_NC.repeat(features, 1)[:features]
    coder = Coder(codec)
    x_1MC, clusters = codec.merge(x_NC[None], TOKENS)
    places = [clusters.centres_BM[0].tolist()]
    data = coder.encode([x_NC], TOKENS, LEVEL)

    def coding() -> None:
        coder.decode(coder.encode_merged(x_1MC[0], [features], places, LEVEL))

    return {
        "bytes": len(data),
        "merging": _time(lambda: cluster(x_NC[None], TOKENS).merge(x_NC[None])),
        "encode_merged": _time(lambda: coder.encode_merged(x_1MC[0], [features], places, LEVEL)),
        "decode": _time(lambda: coder.decode(data)),
        "coding": _time(coding),
        "encode": _time(lambda: coder.encode([x_NC], TOKENS, LEVEL)),
    }


def _time(work: Callable[[], object]) -> dict[str, float]:
    work()
    work()
    taken, busy = [], []
    for _ in range(REPEATS):
        began, cpu = time.perf_counter(), time.process_time()
        work()
        taken.append(1e3 * (time.perf_counter() - began))
        busy.append(1e3 * (time.process_time() - cpu))
    return {"median_ms": statistics.median(taken), "least_ms": min(taken), "cpu_ms": statistics.median(busy)}
