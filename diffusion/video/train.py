"""The stages of `aiflow train video`, and of the baselines that the bench adds. Knows no measuring.

Every stage leaves its model in its own folder; all data follow from the stage's seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from aiflow.diffusion.training import Context, Stage
from aiflow.diffusion.video import train_judges, train_omni
from aiflow.diffusion.video.autoencoder import TinyVideoAutoencoder
from aiflow.diffusion.video.data import MODALITIES, WORDS, Clips, generate
from aiflow.diffusion.video.judges import ClipReader, ViewReader
from aiflow.diffusion.video.model import CONDITION, GENERATE, TEXT_TOKENS, OmniTransformer3D, tiny
from aiflow.diffusion.video.sampling import default_scheduler
from aiflow.diffusion.words import WordEncoder, word_tokenizer
from aiflow.fitting import Recipe

CONDITIONS = ("depth", "segment", "edges")
"""For which there are models of one condition, besides text alone."""
RIVALS = {"dedicated": 1 / 4, "fifteenth": 1 / 15, "full": 1.0}
"""Share of omni's steps that a model of one condition has, by the name of its stage: four of them (text and the three
conditions) share omni's budget; one for each of the fifteen sets of conditions would; each has all of it."""
BATCH = 24
"""Clips of a step of the diffusion models."""
AUTOENCODER = Recipe(steps=1500, lr=2e-3, warmup=50, decay=0.6, every=300)
CLIP_READER = Recipe(steps=800, lr=2e-3, warmup=50, decay=0.5, every=200)
VIEW_READER = Recipe(steps=600, lr=3e-3, warmup=50, decay=0.5, every=200)
OMNI = Recipe(steps=2400, lr=4e-3, muon_lr=1.2e-2, warmup=50, decay=0.5, every=100, ema=0.99)


class ViewBatch:
    """Clips of mixed modalities (B, 3, T, H, W)."""

    def __init__(self, x_BCTHW: Tensor) -> None:
        self.x_BCTHW = x_BCTHW

    @property
    def tokens(self) -> int:
        return int(self.x_BCTHW.shape[0])


def autoencoder(context: Context) -> Mapping[str, Any]:
    """Principal components first, then the corrections; the latents are normalised at the end."""
    clips = generate("train", 2000, seed=0)
    x = torch.cat([torch.from_numpy(clips.views[name]) for name in MODALITIES]).transpose(1, 2)
    model = TinyVideoAutoencoder()
    model.begin(x[::10])

    def data(step: int) -> Any:
        while True:
            rows = np.random.default_rng((context.seed, step)).integers(0, len(x), 48)
            yield ViewBatch(x[torch.from_numpy(rows)])
            step += 1

    def backward(net: TinyVideoAutoencoder, batch: ViewBatch) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            out = net.decode(net.encode(batch.x_BCTHW).latent_dist.mode()).sample
        loss = ((out.float() - batch.x_BCTHW) ** 2).mean()
        loss.backward()
        return float(loss.detach())

    state = context.fit(model, data, backward)
    model.normalise(x[::4])
    model.save_pretrained(context.folder)
    return {"parameters": _count(model), **state}


def omni(context: Context) -> Mapping[str, Any]:
    """One model of all modalities, roles drawn anew for every sample."""
    return _diffusion(context, MODALITIES, MODALITIES, train_omni.mixed_roles)


def _diffusion(context: Context, modalities: Sequence[str], outputs: Sequence[str], roles: Any) -> Mapping[str, Any]:
    vae = _vae(context)
    clips = _clips()
    latents = train_omni.encoded(clips, vae, modalities)
    tokenizer = word_tokenizer(WORDS, TEXT_TOKENS)
    text = WordEncoder(len(tokenizer), 64, layers=1, heads=2)
    model = train_omni.Trainee(tiny(modalities, outputs), text)
    words = train_omni.words_of(tokenizer, clips)
    data = train_omni.batches(latents, words, BATCH, context.seed, roles, len(modalities))
    alphas = default_scheduler().alphas_cumprod.float()  # type: ignore[attr-defined]
    state = context.fit(model, data, train_omni.backward(alphas))
    model.transformer.save_pretrained(context.folder / "transformer")
    text.save_pretrained(context.folder / "text_encoder")
    tokenizer.save_pretrained(context.folder / "tokenizer")
    return {"parameters": _count(model), **state}


def clip_reader(context: Context) -> Mapping[str, Any]:
    """The network behind FVD, KVD and caption accuracy."""
    clips, vae = _clips(), _vae(context)
    model = ClipReader()
    state = context.fit(model, train_judges.shown(clips, vae, 64, context.seed), train_judges.clip_backward)
    model.standardise(torch.from_numpy(clips.views["rgb"]))
    model.save_pretrained(context.folder)
    return {"parameters": _count(model), **state}


def view_reader(context: Context) -> Mapping[str, Any]:
    """The network behind fidelity."""
    model = ViewReader()
    data = train_judges.shown(generate("train", 2000, seed=0), _vae(context), 16, context.seed)
    state = context.fit(model, data, train_judges.view_backward)
    model.save_pretrained(context.folder)
    return {"parameters": _count(model), **state}


@lru_cache(maxsize=1)
def _clips() -> Clips:
    return generate("train", seed=0)


def _vae(context: Context) -> Any:
    return TinyVideoAutoencoder.from_pretrained(context.before("autoencoder")).eval()


def _dedicated(condition: str | None) -> Any:
    modalities = ("rgb",) if condition is None else ("rgb", condition)
    roles = train_omni.fixed_roles([GENERATE, CONDITION][: len(modalities)])
    return lambda context: _diffusion(context, modalities, ("rgb",), roles)


def _count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def ship(trained: Path, weights: Path) -> None:
    """Puts the pipeline and its judges together in the folder ``weights``, as half-precision safetensors."""
    pipeline(trained, "omni").to(torch.float16).save_pretrained(weights)
    for name, kind in (("clip_reader", ClipReader), ("view_reader", ViewReader)):
        kind.from_pretrained(trained / name).half().save_pretrained(weights / "judges" / name)


def pipeline(out: Path, stage: str) -> Any:
    """The pipeline of a trained stage, in evaluation mode."""
    from aiflow.diffusion.video.pipeline import OmniVideoPipeline

    found = OmniVideoPipeline(
        OmniTransformer3D.from_pretrained(out / stage / "transformer").eval(),
        TinyVideoAutoencoder.from_pretrained(out / "autoencoder").eval(),
        WordEncoder.from_pretrained(out / stage / "text_encoder").eval(),
        PreTrainedTokenizerFast.from_pretrained(out / stage / "tokenizer"),
        default_scheduler(),
    )
    found.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return found


def _at(share: float) -> Recipe:
    """The recipe with a share of the steps."""
    steps = round(OMNI.steps * share)
    return replace(OMNI, steps=steps, warmup=min(OMNI.warmup, steps // 8))


def _baselines() -> dict[str, Stage]:
    """Models of one condition, by `RIVALS`."""
    return {
        f"{kind}_{condition or 'text'}": Stage(
            recipe=_at(share), run=_dedicated(condition), needs=("autoencoder",), ships=False
        )
        for kind, share in RIVALS.items()
        for condition in (None, *CONDITIONS)
    }


STAGES: dict[str, Stage] = {
    "autoencoder": Stage(recipe=AUTOENCODER, run=autoencoder),
    "clip_reader": Stage(recipe=CLIP_READER, run=clip_reader, needs=("autoencoder",)),
    "view_reader": Stage(recipe=VIEW_READER, run=view_reader, needs=("autoencoder",)),
    "omni": Stage(recipe=OMNI, run=omni, needs=("autoencoder",)),
    **_baselines(),
}
