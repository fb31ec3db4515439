"""FVD and KVD with any features, fidelity to a condition, caption accuracy, and intervals over clips and seeds.

Knows no diffusion model: a clip is judged by what it shows. Statistics in float64.

Shapes: N clips (N, T, 3, H, W) in [-1, 1], K features, S seeds. Source: table IX.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aiflow.diffusion.distances import frechet, polynomial_mmd
from aiflow.diffusion.video.data import ATTRIBUTES, Clips, depth_metres, edge_mask, segment_labels
from aiflow.diffusion.video.judges import ClipReader, ViewReader
from aiflow.errors import InputError, WeightsError

Floats = NDArray[np.float64]
Extractor = Callable[[Tensor], Tensor]
"""Clips (B, T, 3, H, W) in [-1, 1] -> features (B, K)."""
CHUNK = 128


@torch.no_grad()
def features(extractor: Extractor, clips: Any) -> Floats:
    """Features of clips (N, K). Raises InputError for fewer than two clips, or features that are not finite (N, K)."""
    x = torch.as_tensor(clips).float()
    if x.ndim != 5 or x.shape[2] != 3 or len(x) < 2:
        raise InputError(f"clips of shape {tuple(x.shape)} cannot be judged; two or more (T, 3, H, W) are expected.")
    found = torch.cat([extractor(part) for part in torch.split(x, CHUNK)]).cpu().numpy().astype(np.float64)
    if found.shape[:1] != (len(x),) or found.ndim != 2 or not np.isfinite(found).all():
        raise InputError(f"the extractor gave features of shape {found.shape}, or NaN; finite (N, K) are expected.")
    return found


def i3d(path: str | Path) -> Extractor:
    """The I3D torchscript that published FVDs use (StyleGAN-V's form), from a file of one's own: 400 logits.

    Clips are resized to a shorter side of 224 (bilinear) and cropped in the middle; 10 frames or more are needed.
    Raises WeightsError.
    """
    try:
        network = torch.jit.load(str(path)).eval()  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{path} is no torchscript that can be loaded: {error}") from error

    def extract(clips_BT3HW: Tensor) -> Tensor:
        b, t, _, h, w = clips_BT3HW.shape
        if t < 10:
            raise InputError(f"I3D needs clips of at least 10 frames, these have {t}.")
        size = (224, round(w * 224 / h)) if h <= w else (round(h * 224 / w), 224)
        flat = torch.nn.functional.interpolate(clips_BT3HW.flatten(0, 1), size, mode="bilinear", align_corners=False)
        top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
        square = flat[..., top : top + 224, left : left + 224].reshape(b, t, *flat.shape[1:2], 224, 224).transpose(1, 2)
        return torch.as_tensor(network(square, rescale=False, resize=False, return_features=True))

    return extract


def fvd(real_NK: Floats, fake_NK: Floats) -> float:
    """Frechet video distance of features."""
    return frechet(real_NK, fake_NK)


def kvd(real_NK: Floats, fake_NK: Floats) -> float:
    """Kernel video distance of features."""
    return polynomial_mmd(real_NK, fake_NK)


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Per clip, what fidelity to depth, segments and edges is made of; `value` is over all clips.

    ``absrel_N``: mean |p - g| / g; ``overlap_NC2``: intersection and union per class; ``edges_N3``: true positives,
    predicted, real.
    """

    absrel_N: Floats
    overlap_NC2: Floats
    edges_N3: Floats

    def value(self, rows: Any = slice(None)) -> dict[str, float]:
        """``absrel`` (lower is better), ``miou`` and ``edge_f1`` (higher is better) over some of the clips."""
        both, either = self.overlap_NC2[rows].sum(0).T
        hit, said, real = self.edges_N3[rows].sum(0)
        present = either > 0
        return {
            "absrel": float(self.absrel_N[rows].mean()),
            "miou": float((both[present] / either[present]).mean()),
            "edge_f1": float(2 * hit / max(said + real, 1)),
        }


@torch.no_grad()
def fidelity(reader: ViewReader, rgb: Any, truth: Mapping[str, Any]) -> Fidelity:
    """How well clips show the depth, segments and edges they should: read off their colours and compared.

    Args:
        reader: the trained network.
        rgb: the clips to judge (N, T, 3, H, W).
        truth: the views "depth", "segment" and "edges" of the clips that gave the condition.
    """
    x = torch.as_tensor(rgb).float()
    parts = [reader(part) for part in torch.split(x, CHUNK)]
    depth = torch.cat([p["depth"] for p in parts]).numpy().astype(np.float64)
    labels = torch.cat([p["segment"].argmax(-1) for p in parts]).numpy()
    edges = torch.cat([p["edges"] > 0 for p in parts]).numpy()
    return compare(depth, labels, edges, truth)


def compare(depth_m: Floats, labels: NDArray[Any], edges: NDArray[np.bool_], truth: Mapping[str, Any]) -> Fidelity:
    """Fidelity of depth in metres, segment numbers and edges (all (N, T, H, W)) to the true views."""
    real_m = depth_metres(np.asarray(truth["depth"])).astype(np.float64)
    real_labels, real_edges = segment_labels(np.asarray(truth["segment"])), edge_mask(np.asarray(truth["edges"]))
    where = (1, 2, 3)
    overlap = [
        np.stack([((labels == c) & (real_labels == c)).sum(where), ((labels == c) | (real_labels == c)).sum(where)], -1)
        for c in range(4)
    ]
    return Fidelity(
        absrel_N=(np.abs(depth_m - real_m) / real_m).mean(where),
        overlap_NC2=np.stack(overlap, 1).astype(np.float64),
        edges_N3=np.stack([(edges & real_edges).sum(where), edges.sum(where), real_edges.sum(where)], -1).astype(float),
    )


@torch.no_grad()
def caption_hits(reader: ClipReader, rgb: Any, clips: Clips) -> Floats:
    """(N, 4): whether each attribute of the caption is what the clip shows."""
    x = torch.as_tensor(rgb).float()
    parts = [reader(part) for part in torch.split(x, CHUNK)]
    said = torch.stack([torch.cat([p[name].argmax(-1) for p in parts]) for name in ATTRIBUTES], -1).numpy()
    return np.asarray(said == clips.attributes, np.float64)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and its 95 % interval."""

    value: float
    lo: float
    hi: float


def bootstrap(
    statistic: Callable[[int, NDArray[np.int64]], float], sizes: Sequence[int], draws: int = 200, seed: int = 0
) -> Interval:
    """The mean of a statistic over S seeds, with an interval over seeds and clips.

    Args:
        statistic: of seed s on some of its clips (rows, drawn with replacement).
        sizes: how many clips each seed has.
        draws: bootstrap samples: seeds first (if there are several), then clips. The interval is the value -+ 1.96
            times their standard deviation: clips that are drawn twice push a distance such as FVD upwards, but hardly
            change its spread.
    """
    rng = np.random.default_rng(seed)
    whole = float(np.mean([statistic(s, np.arange(n)) for s, n in enumerate(sizes)]))
    drawn = []
    for _ in range(draws):
        seeds = rng.integers(0, len(sizes), len(sizes)) if len(sizes) > 1 else np.zeros(1, np.int64)
        drawn.append(np.mean([statistic(int(s), rng.integers(0, sizes[s], sizes[s])) for s in seeds]))
    half = 1.96 * float(np.std(drawn, ddof=1)) if draws > 1 else float("nan")
    return Interval(value=whole, lo=whole - half, hi=whole + half)
