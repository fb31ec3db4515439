"""What a trained video model scores on held-out clips, clip by clip, kept beside the model. Knows no table.

A row is a model under one setting: which modalities are given, which are idle. Scores are numpy archives, keyed by the
model's recipe and the number of clips, so a second run reads them.

Shapes: N clips, K features.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiflow.diffusion.video.data import MODALITIES, Clips, generate

Scores = Mapping[str, NDArray[np.float64]]
STEPS, BATCH = 20, 64
GUIDANCE, GUIDANCE_GIVEN = 1.5, 1.0
"""Of the text: alone, and beside conditions, where it costs realism (FVD of depth 0.37 against 0.71 with 1.5)."""
VERSION = 2
"""Counts up when what is scored changes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table. ``strength``: where SDEdit begins (1: noise), for a model that cannot read a condition."""

    key: str
    stage: str
    given: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    strength: float = 1.0

    @property
    def guidance(self) -> float:
        """Of the text."""
        return GUIDANCE_GIVEN if self.given and self.strength == 1.0 else GUIDANCE

    def roles(self) -> dict[str, str]:
        """Of the modalities that are not generated."""
        return dict.fromkeys(self.given, "condition") | dict.fromkeys(self.idle, "idle")


def scores(root: Path, row: Row, clips: int) -> Scores:
    """A row's scores over the first test clips: read, or sampled and judged. ``root``: the folder of a seed.

    ``features`` (N, K) of the rgb; ``hits`` (N, 4) attributes of the caption; ``absrel`` (N,), ``overlap`` (N, 4, 2),
    ``edges`` (N, 3) as in `diffusion.video.metrics.Fidelity`; ``mse`` (N,) to the rgb that the condition is of. With
    rgb given, depth, segments and edges are the generated ones themselves, and there are no features.
    """
    trained = [json.loads((root / s / "training.json").read_text()) for s in (row.stage, "clip_reader", "view_reader")]
    recipes = [[one["recipe"], one["cpu_seconds"]] for one in trained]
    said = [VERSION, row.roles(), row.strength, clips, STEPS, row.guidance, recipes]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:10]
    kept = root / row.stage / f"scores-{digest}.npz"
    if not kept.exists():
        found = _judged(root, _sampled(root, row, clips), _test(clips), "rgb" in row.given)
        np.savez(kept.with_suffix(".part.npz"), **found)  # type: ignore[arg-type]
        kept.with_suffix(".part.npz").replace(kept)
    with np.load(kept) as archive:
        return {name: archive[name] for name in archive.files}


def floor(root: Path, name: str, clips: int) -> Scores:
    """Scores without a diffusion model: "real" (other real clips) and "autoencoder" (the test clips through it)."""
    from aiflow.diffusion.video.train_judges import reconstructed

    test = _test(clips)
    if name == "real":
        return _judged(root, {"rgb": generate("val", clips).views["rgb"]}, test, False)
    return _judged(root, {"rgb": reconstructed(_vae(root), test.views["rgb"]).numpy()}, test, False)


def real_features(root: Path, clips: int) -> NDArray[np.float64]:
    """Features of the test clips (N, K)."""
    from aiflow.diffusion.video.metrics import features

    return features(_judges(root)[0].features, _test(clips).views["rgb"])


def judge_floor(root: Path, clips: int) -> Scores:
    """The judges on the real test clips themselves: their own error."""
    test = _test(clips)
    return _judged(root, {"rgb": test.views["rgb"]}, test, False)


@lru_cache(maxsize=2)
def _test(clips: int) -> Clips:
    return generate("test", clips)


@lru_cache(maxsize=1)
def _judges(root: Path) -> Any:
    from aiflow.diffusion.video.judges import ClipReader, ViewReader

    return (
        ClipReader.from_pretrained(root / "clip_reader").eval(),
        ViewReader.from_pretrained(root / "view_reader").eval(),
    )


@lru_cache(maxsize=1)
def _vae(root: Path) -> Any:
    from aiflow.diffusion.video.autoencoder import TinyVideoAutoencoder

    return TinyVideoAutoencoder.from_pretrained(root / "autoencoder").eval()


def _sampled(root: Path, row: Row, clips: int) -> dict[str, NDArray[np.float32]]:
    """Views of every modality that the row generates."""
    import torch

    from aiflow.diffusion.video.train import pipeline

    pipe, test = pipeline(root, row.stage), _test(clips)
    parts: dict[str, list[Any]] = {}
    for start in range(0, clips, BATCH):
        rows = slice(start, min(start + BATCH, clips))
        given = {name: test.views[name][rows] for name in row.given}
        with torch.autocast("cpu", torch.bfloat16):
            if row.strength < 1:
                made = _sdedit(pipe, test.captions[rows], next(iter(given.values())), start, row.strength)
            else:
                out = pipe(
                    list(test.captions[rows]), row.roles(), given, seed=start, num_inference_steps=STEPS,
                    guidance_scale=row.guidance,
                )  # fmt: skip
                made = {n: v for n, v in out.videos.items() if out.roles_used[n] == "generate"}
        for name, video in made.items():
            parts.setdefault(name, []).append(video.float().numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}


def _sdedit(pipe: Any, captions: Sequence[str], given: Any, seed: int, strength: float) -> dict[str, Any]:
    """A text-to-video model started from the noised condition instead of from noise (V2V)."""
    import torch

    from aiflow.diffusion.video.sampling import Run, noise

    with torch.no_grad():
        z = pipe.encode(given)
        seeds = [seed + b for b in range(len(z))]
        run = Run(
            pipe.transformer, pipe.scheduler, roles={"rgb": "generate"}, x={"rgb": z}, text=pipe.embed(captions),
            steps=STEPS, guidance=GUIDANCE, seeds=seeds,
        )  # fmt: skip
        first = round(STEPS * (1 - strength))
        run.x["rgb"] = run.steppers["rgb"].extrapolate(first, z, noise(seeds, "rgb", z.shape[1:])).to(z.dtype)
        for k in range(first, STEPS):
            run.step(k, run.velocities(k))
        return {"rgb": pipe.decode(run.x["rgb"])}


def _judged(root: Path, views: Mapping[str, Any], test: Clips, understood: bool) -> dict[str, NDArray[np.float64]]:
    from aiflow.diffusion.video import metrics
    from aiflow.diffusion.video.data import depth_metres, edge_mask, segment_labels

    clip_reader, view_reader = _judges(root)
    if understood:
        full = {name: views.get(name, test.views[name]) for name in MODALITIES}
        depth, labels, edges = depth_metres(full["depth"]), segment_labels(full["segment"]), edge_mask(full["edges"])
        seen = metrics.compare(depth.astype(np.float64), labels, edges, test.views)
        return {"absrel": seen.absrel_N, "overlap": seen.overlap_NC2, "edges": seen.edges_N3}
    rgb = views["rgb"]
    seen = metrics.fidelity(view_reader, rgb, test.views)
    return {
        "features": metrics.features(clip_reader.features, rgb),
        "hits": metrics.caption_hits(clip_reader, rgb, test),
        "absrel": seen.absrel_N,
        "overlap": seen.overlap_NC2,
        "edges": seen.edges_N3,
        "mse": ((rgb - test.views["rgb"]) ** 2).mean((1, 2, 3, 4), dtype=np.float64),
    }
