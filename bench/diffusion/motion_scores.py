"""Scores of trained motion generators on held-out scenes, kept beside the models. Knows no table.

Legend: N scenes, Z embedding, C checks, P=2 persons, T frames, S samples of one text.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aiflow.diffusion import distances
from aiflow.diffusion.files import fingerprint
from aiflow.diffusion.motion import data, metrics, sampling, train
from aiflow.diffusion.motion.evaluator import MotionEvaluator
from aiflow.diffusion.motion.model import Coordinator
from aiflow.diffusion.motion.pipeline import InterleavedMotionPipeline
from aiflow.diffusion.motion.scene import FRAMES, Clip

Floats = NDArray[np.float64]
CHECKS = ("gap", "timing", "skate", "bone", "inside", "jerk")
STEPS, GUIDANCE, BATCH = 20, 2.5, 48
REAL = 960
"""Real scenes that FIDs compare with; other ones than those whose captions are used."""
MODALITY = (12, 12)
"""Texts and samples of each for MModality."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table: a denoiser's stage, REC's stage if it takes part, and how."""

    key: str
    stage: str
    rec: str = ""
    mode: str | None = None
    control: bool = True


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of every scene."""

    motion_NZ: Floats
    hits_N3: Floats
    """How often a text finds its motion among the nearest 1, 2, 3 of a pool."""
    match_N: Floats
    """Distance of text and motion."""
    checks_NC: Floats


@lru_cache(maxsize=2)
def evaluator(folder: Path) -> Any:
    """The frozen judge that a stage left in ``folder``."""
    return MotionEvaluator.from_pretrained(folder / "net").eval()


def pipeline(folder: Path, row: Row) -> InterleavedMotionPipeline:
    """The generator of a row."""
    net, text = train.composer(folder / row.stage)
    rec = Coordinator.from_pretrained(folder / row.rec / "net").eval() if row.rec else None
    made = InterleavedMotionPipeline(net, rec, text, train.tokenizer(), sampling.ddim())
    made.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return made


@lru_cache(maxsize=2)
def scenes(split: str, count: int) -> list[Clip]:
    """Held-out scenes."""
    return data.scenes(split, count)


def generate(pipe: InterleavedMotionPipeline, clips: Sequence[Clip], mode: str | None, seed: int = 0) -> torch.Tensor:
    """(N, 2, 48, 262): one motion for the text and the segments of each clip."""
    out = torch.zeros(len(clips), 2, FRAMES, 262)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(clips), BATCH):
        part = clips[start : start + BATCH]
        plans = [list(zip(clip.kinds, clip.starts, strict=True)) for clip in part]
        with torch.autocast("cpu", torch.bfloat16):
            made: Any = pipe(
                [clip.caption for clip in part],
                plans,
                [clip.frames for clip in part],
                rec_mode=mode,  # type: ignore[arg-type]
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                generator=generator,
                output_type="latent",
            )
        out[start : start + len(part), :, : made.motions.shape[2]] = made.motions.float()
    return out


def judged(judge: Any, u_N2TC: torch.Tensor, clips: Sequence[Clip], pool: int) -> Scores:
    """Scores motions that were made for the captions and segments of clips."""
    frames = [clip.frames for clip in clips]
    motion_NZ = metrics.motion_features(judge, u_N2TC, frames)
    text_NZ = metrics.text_features(judge, train.tokenizer(), [clip.caption for clip in clips])
    joints = [u_N2TC[i, :, :n, :66].reshape(2, n, 22, 3).double().numpy() for i, n in enumerate(frames)]
    found = metrics.checks(joints, [clip.touches for clip in clips], [clip.starts for clip in clips])
    return Scores(
        motion_NZ=motion_NZ,
        hits_N3=metrics.retrieved(text_NZ, motion_NZ, pool=pool),
        match_N=np.linalg.norm(text_NZ - motion_NZ, axis=1),
        checks_NC=np.stack([getattr(found, f"{name}_N") for name in CHECKS], axis=1),
    )


def scores(folder: Path, judge: Path, row: Row, count: int, pool: int) -> Scores:
    """A row's scores on the test scenes, by the judge in the folder ``judge``."""
    return judged(evaluator(judge), motions(folder, row, count), scenes("test", count), pool)


def motions(folder: Path, row: Row, count: int) -> torch.Tensor:
    """What a row makes of the test scenes (N, 2, T, 262); read if it is there for these very weights."""
    pipe = pipeline(folder, row)
    nets = [pipe.ins, pipe.text_encoder, *([pipe.rec] if pipe.rec is not None else [])]
    said = f"{fingerprint(*nets)} {row.mode} {count} {STEPS} {GUIDANCE} 2"
    path = folder / (row.rec or row.stage) / f"motions-{row.mode}-{hashlib.sha256(said.encode()).hexdigest()[:12]}.npy"
    if not path.is_file():
        np.save(path.with_suffix(".part.npy"), generate(pipe, scenes("test", count), row.mode).numpy())
        path.with_suffix(".part.npy").replace(path)
    return torch.from_numpy(np.load(path))


def real(judge: Path, count: int, pool: int) -> tuple[Floats, Scores]:
    """Features of other real scenes, and the scores of the test scenes' own motions."""
    clips, others = scenes("test", count), scenes("statistics", REAL)
    features = metrics.motion_features(evaluator(judge), data.pack(others).u_N2TC, [clip.frames for clip in others])
    return features, judged(evaluator(judge), data.pack(clips).u_N2TC, clips, pool)


def modality(folder: Path, judge: Path, row: Row) -> float:
    """MModality: how far apart motions of one text are."""
    texts, samples = MODALITY
    chosen = [clip for clip in scenes("test", 96) if len(clip.kinds) == 3][:texts]
    clips = [clip for clip in chosen for _ in range(samples)]
    u = generate(pipeline(folder, row), clips, row.mode, seed=1)
    z = metrics.motion_features(evaluator(judge), u, [clip.frames for clip in clips])
    return distances.multimodality(z.reshape(len(chosen), samples, -1), pairs=samples - 2)


def means(found: Scores, features_NZ: Floats) -> Mapping[str, float]:
    """A seed's numbers of the table."""
    r1, r2, r3 = found.hits_N3.mean(axis=0)
    checks = dict(zip(CHECKS, np.nanmean(found.checks_NC, axis=0), strict=True))
    return {
        "r1": r1,
        "r2": r2,
        "r3": r3,
        "fid": distances.frechet(features_NZ, found.motion_NZ, scale=metrics.SCALE),
        "mm_dist": found.match_N.mean(),
        "diversity": distances.diversity(
            found.motion_NZ, pairs=min(300, len(found.motion_NZ) - 1), halve=True, scale=metrics.SCALE
        ),
        **checks,
    }
