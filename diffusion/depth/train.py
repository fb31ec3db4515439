"""Recipes: near and far decoders on their encoder, and the single decoders of the same size they are measured against.

All learn from the same scenes in the same order, with the same optimisers, for as many steps. Knows no evaluation.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aiflow.diffusion.depth import losses
from aiflow.diffusion.depth.baselines import SingleDecoder
from aiflow.diffusion.depth.data import Batch, batches
from aiflow.diffusion.depth.model import ConvEncoder, FarDecoder, NearDecoder, parameters
from aiflow.diffusion.depth.pipeline import NearFarDepthPipeline
from aiflow.diffusion.depth.representation import ANCHORS, Taper
from aiflow.diffusion.training import Context, Stage
from aiflow.fitting import Recipe

RECIPE = Recipe(steps=700, lr=3e-3, muon_lr=0.01, warmup=50, every=100, ema=0.99)
SLIDE = 0.2
"""Half the range of log distance by which a third of the anchors leave the pool."""
SINGLES: dict[str, dict[str, Any]] = {
    "linear": {"head": "linear", "start": losses.REACH / 2},
    "linear_tuned": {"head": "linear"},
    "linear_caps": {"head": "linear", "caps": [10.0, 80.0], "domains": 2},
    "log": {"head": "log"},
    "log_flag": {"head": "log", "domains": 2},
    "log_wide": {"head": "log", "widths": [48, 96, 128, 128]},
    "bins": {"head": "bins"},
}
"""The baselines by stage: what `SingleDecoder` is made of. ``linear`` is Depth Anything V2's: sigmoid, no bias, SILog;
all others learn by mean absolute log error from a start at 6 m, as near and far do."""


def normalised(model: Any, image_B3HW: Tensor) -> Tensor:
    """As the encoder wants it."""
    mean, std = (torch.tensor(list(v)).reshape(1, 3, 1, 1) for v in (model.config.mean, model.config.std))
    return ((image_B3HW - mean) / std).contiguous(memory_format=torch.channels_last)


def draw_anchors(batch: Batch, seed: int) -> Tensor:
    """``anchor_B``: from the pool, a third of them moved off it."""
    dice = torch.Generator().manual_seed(seed * 1_000_003 + batch.step)
    pool_N, count = torch.tensor(ANCHORS), batch.tokens
    anchor_B = pool_N[torch.randint(len(pool_N), (count,), generator=dice)]
    moved_B = torch.exp((2 * torch.rand(count, generator=dice) - 1) * SLIDE)
    return torch.where(torch.rand(count, generator=dice) < 1 / 3, anchor_B * moved_B, anchor_B)


def _fit(context: Context, model: nn.ModuleDict, loss: Callable[[Batch], Tensor]) -> dict[str, Any]:
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def backward(_: Any, batch: Batch) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(batch)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    state = context.fit(model, lambda step: batches(step, seed=context.seed), backward)
    model.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for name, part in model.items():
        part.save_pretrained(context.folder / name)  # type: ignore[operator]
    return {"parameters": parameters(*model.values()), "images": int(state["tokens"])}


def run_near_far(context: Context) -> Mapping[str, Any]:
    """Trains encoder, near and far together."""
    encoder, near, far = ConvEncoder(), NearDecoder(), FarDecoder()
    taper = Taper(kind=far.config.taper, k=far.config.k, limit=far.config.limit)

    def loss(batch: Batch) -> Tensor:
        anchor_B = draw_anchors(batch, context.seed)
        levels = encoder(normalised(encoder, batch.image_B3HW))
        z_near, logit = near.estimate(levels, anchor_B)
        z_far = far.estimate(levels, anchor_B)
        return losses.near_far(z_near, logit, z_far, batch.depth_BHW, anchor_B, taper, losses.Weights())

    return _fit(context, nn.ModuleDict({"encoder": encoder, "near": near, "far": far}), loss)


def run_single(context: Context) -> Mapping[str, Any]:
    """Trains encoder and single decoder of a baseline."""
    encoder, decoder = ConvEncoder(), SingleDecoder(**SINGLES[context.stage])
    measure = losses.silog if context.stage == "linear" else losses.single

    def loss(batch: Batch) -> Tensor:
        levels = encoder(normalised(encoder, batch.image_B3HW))
        return measure(decoder(levels, batch.domain_B), batch.depth_BHW)

    return _fit(context, nn.ModuleDict({"encoder": encoder, "decoder": decoder}), loss)


STAGES = {
    "near_far": Stage(recipe=RECIPE, run=run_near_far),
    **{name: Stage(recipe=RECIPE, run=run_single, ships=False) for name in SINGLES},
}


def assembled(folder: Path) -> NearFarDepthPipeline:
    """The pipeline of a trained stage."""
    parts = {"encoder": ConvEncoder, "near": NearDecoder, "far": FarDecoder}
    loaded = {name: kind.from_pretrained(folder / name, local_files_only=True) for name, kind in parts.items()}
    return NearFarDepthPipeline(**loaded)


def ship(out: Path, weights: Path) -> None:
    """Saves the trained pipeline in half precision; what it computes with is what these halves say."""
    pipeline = assembled(out / "near_far")
    for part in (pipeline.encoder, pipeline.near, pipeline.far):
        for weight in part.parameters():
            weight.data = weight.data.half()
    pipeline.save_pretrained(weights)
    for file in weights.rglob("*"):
        if file.name == "config.json":  # where it was trained is nobody's business
            said = json.loads(file.read_text())
            file.write_text(json.dumps({k: v for k, v in said.items() if k != "_name_or_path"}, indent=1) + "\n")
        if file.is_file():
            file.chmod(0o644)
