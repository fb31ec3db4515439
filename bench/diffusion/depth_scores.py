"""Depth scores per image of a trained stage on held-out scenes, kept as JSON beside the stage. Knows no table.

Legend: B images of a batch, A anchors, I images, H W pixels, S metrics of `NAMES`.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aiflow.diffusion.depth import party
from aiflow.diffusion.depth import representation as rep
from aiflow.diffusion.depth.baselines import SingleDecoder
from aiflow.diffusion.depth.data import kept
from aiflow.diffusion.depth.metrics import PROTOCOLS, score, table
from aiflow.diffusion.depth.model import ConvEncoder
from aiflow.diffusion.depth.scenes import Split
from aiflow.diffusion.depth.train import assembled, normalised
from aiflow.diffusion.files import fingerprint
from aiflow.diffusion.messages import Party, encode

Scores = dict[str, dict[str, list[list[float]]]]
"""Row of the table -> kind of scene -> I x S."""
Predict = Callable[[Tensor, int], dict[str, Tensor]]
"""Images and their domain -> row -> depth_BHW."""

KINDS = ("indoor", "outdoor", "distant")
DOMAINS = {"indoor": 0, "outdoor": 1, "distant": 1}
TOLD = (10.0, 80.0)
"""Anchors of the two domains, as the authors choose them."""
BATCH = 25
VERSION = 1


def stage_scores(folder: Path, images: int, split: Split = "test") -> Scores:
    """Of what lies in a stage's folder; computed once for a training, a split and a number of images."""
    said = json.loads((folder / "training.json").read_text())
    file = folder / f"scores-{split}-{images}.json"
    stamp = [VERSION, said["recipe"], said["seed"], said["cpu_seconds"]]
    if file.exists() and (found := json.loads(file.read_text()))["stamp"] == stamp:
        return dict(found["scores"])
    predict = _near_far(folder) if (folder / "near").is_dir() else _single(folder, said["stage"])
    scores = evaluate(predict, images, split)
    file.write_text(json.dumps({"stamp": stamp, "scores": scores}))
    return scores


def evaluate(predict: Predict, images: int, split: Split) -> Scores:
    """Every row on every kind of scene."""
    scores: Scores = {}
    for kind in KINDS:
        found = kept(kind, split, images)
        rows: dict[str, list[Any]] = {}
        for start in range(0, images, BATCH):
            image_B3HW = torch.from_numpy(found.image_BHW3[start : start + BATCH]).permute(0, 3, 1, 2).float() / 255
            with torch.no_grad():
                depths = predict(image_B3HW, DOMAINS[kind])
            for row, depth_BHW in depths.items():
                truths = found.depth_BHW[start : start + BATCH]
                one = [score(d, g, PROTOCOLS[kind]) for d, g in zip(depth_BHW.numpy(), truths, strict=True)]
                rows.setdefault(row, []).append(table(one))
        for row, parts in rows.items():
            scores.setdefault(row, {})[kind] = np.round(np.concatenate(parts), 6).tolist()
    return scores


def sky(folder: Path, images: int) -> dict[str, float]:
    """How well sky is told from surfaces by the far branch (anchor 80 m): recall and false alarms."""
    pipeline = assembled(folder)
    found = kept("outdoor", "test", images)
    image = torch.from_numpy(found.image_BHW3).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        levels = pipeline.encoder(normalised(pipeline.encoder, image))
        depth = _fused(pipeline, levels, rep.anchors_tensor([TOLD[1]]))["fused"][0].numpy()
    truth: NDArray[Any] = np.isinf(found.depth_BHW)
    surface = found.depth_BHW <= TOLD[1]
    return {"recall": float(np.isinf(depth)[truth].mean()), "false": float(np.isinf(depth)[surface].mean())}


def costs(folder: Path, anchors: Sequence[float], rounds: int = 15) -> dict[str, Any]:
    """Of one held-out image: each party's best seconds, each message's bytes, and what parallelism gains.

    ``parallel``: time with near and far at once, as a share of one after the other; links are not counted.
    """
    pipeline = assembled(folder)
    said = fingerprint(pipeline.encoder)
    encoder, fusion = party.Encoder(pipeline.encoder), party.Fusion(pipeline.pool)
    near, far = party.Near(pipeline.near, encoder=said), party.Far(pipeline.far, encoder=said)
    image = kept("outdoor", "test", 1).image_BHW3[0]
    picture = encode(party.Picture(request="costs", image=image, anchors=[float(a) for a in anchors]))
    best: dict[str, float] = {}
    sizes = {"picture": len(picture)}

    def timed(name: str, one: Party, payload: bytes, answer: str) -> bytes:
        began = time.perf_counter()
        said = one.handle(payload)
        best[name] = min(best.get(name, float("inf")), time.perf_counter() - began)
        sizes[answer] = len(said)
        return said

    for _ in range(rounds):
        features = timed("encoder", encoder, picture, "features")
        maps = [timed("near", near, features, "near"), timed("far", far, features, "far")]
        timed("fusion", fusion, encode(party.Fuse(request="costs", near=maps[0], far=maps[1])), "depth")
    alone = best["encoder"] + best["fusion"]
    share = (alone + max(best["near"], best["far"])) / (alone + best["near"] + best["far"])
    seconds = {name: round(value, 5) for name, value in best.items()}
    return {"anchors": len(anchors), "seconds": seconds, "bytes": sizes, "parallel": round(share, 3)}


def _near_far(folder: Path) -> Predict:
    pipeline = assembled(folder)
    members = pipeline.pool
    pool_A11 = rep.anchors_tensor(members)

    def predict(image_B3HW: Tensor, domain: int) -> dict[str, Tensor]:
        levels = pipeline.encoder(normalised(pipeline.encoder, image_B3HW))
        maps = _fused(pipeline, levels, pool_A11)
        fused = maps["fused"]
        ten = members.index(10.0)
        advised = [members.index(rep.automatic(one, members)) for one in fused[ten]]
        return {
            "pool": rep.average(fused, pipeline.far.config.limit),
            "anchor 10": fused[ten],
            "auto": torch.stack([fused[a, i] for i, a in enumerate(advised)]),
            "told": fused[members.index(TOLD[domain])],
            "near alone": maps["near"][-1],
            "far alone": maps["far"][0],
        }

    return predict


def _fused(pipeline: Any, levels: list[Tensor], anchor_A11: Tensor) -> dict[str, Tensor]:
    """``(A, B, H, W)``: near, far and their fusion at each anchor."""
    config = pipeline.far.config
    taper = rep.Taper(kind=config.taper, k=config.k, limit=config.limit)
    parts: dict[str, list[Tensor]] = {"near": [], "far": [], "fused": []}
    for anchor in anchor_A11:
        anchor_B = anchor.flatten().expand(len(levels[0]))
        log_near, logit = pipeline.near(levels, anchor_B)
        faded = rep.tapered(torch.exp(pipeline.far(levels, anchor_B)), anchor, taper)
        near, far = torch.exp(log_near), rep.far_depth(faded, anchor, taper)
        for name, value in (("near", near), ("far", far), ("fused", rep.fuse(near, far, logit))):
            parts[name].append(value)
    return {name: torch.stack(values) for name, values in parts.items()}


def _single(folder: Path, stage: str) -> Predict:
    encoder = ConvEncoder.from_pretrained(folder / "encoder", local_files_only=True)
    decoder = SingleDecoder.from_pretrained(folder / "decoder", local_files_only=True)

    def predict(image_B3HW: Tensor, domain: int) -> dict[str, Tensor]:
        levels = encoder(normalised(encoder, image_B3HW))
        return {stage: torch.exp(decoder(levels, torch.full((len(image_B3HW),), domain)))}

    return predict
