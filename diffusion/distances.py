"""How far generated things are from real ones, given their features: Frechet, kernel and retrieval distances.

Plain numpy in float64. Knows nothing of motion, depth, video or of the network that made the features: the FID of
motions and the FVD of clips are ``frechet`` of other features, the KVD is ``polynomial_mmd``.

Legend: N, M samples, D features, K cut-offs, P prompts, S samples of one prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aiflow.errors import InputError

Floats = NDArray[np.float64]
BLOCK = 2048
"""Rows of a kernel matrix that are held at once."""


def frechet(x_ND: ArrayLike, y_MD: ArrayLike, scale: float = 1.0) -> float:
    """The squared Frechet distance of two normal laws fitted to samples: FID, FVD (tables VII and IX).

    ``|mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2))``, covariances over N - 1. Fewer samples than features are
    fine numerically, but then the value depends strongly on N. ``scale`` multiplies the features first (6 in the
    InterHuman protocol). Raises InputError for fewer than 2 samples, other widths, or values that are not finite.
    """
    x, y = _same_width(x_ND, y_MD, least=2)
    mean = x.mean(axis=0) - y.mean(axis=0)
    # With R'R = S the trace of (S_x S_y)^(1/2) is the sum of the singular values of R_x R_y': no squares of what is
    # small, so that equal samples of low rank are at 0 and not at the root of the rounding error.
    roots = [np.linalg.qr(a - a.mean(axis=0)).R / sqrt(len(a) - 1) for a in (x, y)]
    return scale**2 * _frechet(mean, *roots)


def frechet_of(mean_D: ArrayLike, cov_DD: ArrayLike, other_D: ArrayLike, other_DD: ArrayLike) -> float:
    """``frechet`` from means and covariances, for statistics that someone published. Raises InputError likewise."""
    means = [_finite(m, "a mean", 1) for m in (mean_D, other_D)]
    covs = [_finite(c, "a covariance", 2) for c in (cov_DD, other_DD)]
    shapes = [a.shape for a in (*means, *covs)]
    width = means[0].size
    if not width or shapes != [(width,), (width,), (width, width), (width, width)]:
        raise InputError(f"two means (D) and two covariances (D, D) of one D are needed, got shapes {shapes}.")
    return _frechet(means[0] - means[1], *(_root(cov) for cov in covs))


def polynomial_mmd(x_ND: ArrayLike, y_MD: ArrayLike) -> float:
    """The unbiased squared maximum mean discrepancy under ``(x.y / D + 1)^3``: KVD (table IX), KID in one block.

    Can be negative: it is 0 in the mean where the laws are equal. Raises InputError as ``frechet`` does.
    """
    x, y = _same_width(x_ND, y_MD, least=2)
    within = (_kernel_sum(a, a) - float((((a * a).sum(axis=1) / a.shape[1] + 1) ** 3).sum()) for a in (x, y))
    same = sum(total / (len(a) * (len(a) - 1)) for total, a in zip(within, (x, y), strict=True))
    return same - 2 * _kernel_sum(x, y) / (len(x) * len(y))


def pairwise(x_ND: ArrayLike, y_MD: ArrayLike) -> Floats:
    """Euclidean distances ``d_NM`` of all pairs. Raises InputError for no samples, other widths, NaN."""
    x, y = _same_width(x_ND, y_MD, least=1)
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre  # distances stay, and far-off clouds lose fewer digits below
    squares = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * x @ y.T
    distances: Floats = np.sqrt(np.maximum(squares, 0))
    return distances


def r_precision(
    text_ND: ArrayLike,
    motion_ND: ArrayLike,
    pool: int = 96,
    k: Sequence[int] = (1, 2, 3),
    seed: int = 0,
    order: Sequence[int] | None = None,
) -> Floats:
    """For each k, how often a text's own motion is among the k nearest of its pool: ``share_K`` (table VII).

    The pairs are shuffled by ``seed``, or put in the given ``order``, and cut into pools; a last one that is not full
    is dropped (InterHuman: 96, HumanML3D: 32). Equally near motions share their ranks, so that features which are all
    the same score chance. Raises InputError for fewer pairs than a pool, another ``order`` than one of all pairs, NaN.
    """
    text, motion = _pairs(text_ND, motion_ND)
    if not 1 <= pool <= len(text) or not all(1 <= cut <= pool for cut in k):
        raise InputError(f"a pool of {pool} and k of {list(k)} do not fit {len(text)} pairs: 1 <= k <= pool <= pairs.")
    places = np.random.default_rng(seed).permutation(len(text)) if order is None else np.asarray(order)
    if not np.array_equal(np.sort(places), np.arange(len(text))):
        raise InputError(f"the order must name each of the {len(text)} pairs once.")
    shares = []
    for start in range(0, len(text) - pool + 1, pool):
        taken = places[start : start + pool]
        d_NN = pairwise(text[taken], motion[taken])
        own = np.diagonal(d_NN)[:, None]
        nearer, tied = (d_NN < own).sum(axis=1), (d_NN == own).sum(axis=1)
        shares.append([np.clip((cut - nearer) / tied, 0, 1).mean() for cut in k])
    mean: Floats = np.mean(shares, axis=0)
    return mean


def mm_dist(text_ND: ArrayLike, motion_ND: ArrayLike) -> float:
    """The mean distance of a text to its own motion (MM Dist, table VII). Raises InputError for other shapes, NaN."""
    text, motion = _pairs(text_ND, motion_ND)
    return float(np.linalg.norm(text - motion, axis=1).mean())


def diversity(x_ND: ArrayLike, pairs: int = 300, seed: int = 0, halve: bool = False, scale: float = 1.0) -> float:
    """The mean distance of two independent draws of ``pairs`` samples; nearer to the real data's is better.

    InterHuman halves the differences and scales the features by 6, HumanML3D does neither. A sample can meet itself.
    Raises InputError unless there are more samples than ``pairs``.
    """
    x = _samples(x_ND)
    if not 1 <= pairs < len(x):
        raise InputError(f"a diversity over {pairs} pairs needs more samples than pairs, got {len(x)}; lower pairs.")
    rng = np.random.default_rng(seed)
    first, second = (x[rng.choice(len(x), pairs, replace=False)] for _ in range(2))
    return float(np.linalg.norm(first - second, axis=1).mean()) * scale / (2 if halve else 1)


def multimodality(x_PSD: ArrayLike, pairs: int = 10, seed: int = 0) -> float:
    """The mean distance of samples made from the same text (MModality, table VII): ``pairs`` for each of P texts.

    Raises InputError unless each text has more samples than ``pairs``.
    """
    x = _finite(x_PSD, "the samples of each text", 3)
    if not x.size or not 1 <= pairs < x.shape[1]:
        raise InputError(f"{pairs} pairs a text need more samples a text, got (P, S, D) = {x.shape}; lower pairs.")
    rng = np.random.default_rng(seed)
    draws = [[rng.choice(x.shape[1], pairs, replace=False) for _ in range(2)] for _ in x]
    return float(np.mean([np.linalg.norm(s[a] - s[b], axis=1) for s, (a, b) in zip(x, draws, strict=True)]))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over replications and half the width of its 95 % interval."""

    mean: float
    half: float


def replicate(measure: Callable[[int], Mapping[str, float]], n: int = 20, seed: int = 0) -> dict[str, Interval]:
    """Measures ``n`` times with the seeds ``seed``, ``seed + 1``, ...; each value's mean and 1.96 std / sqrt(n).

    The std is the sample's (over n - 1), 2.6 % wider at n = 20 than over n. The interval is that of the draws inside
    ``measure``, not of training. Raises InputError for n < 2, other names from one time to the next, or NaN.
    """
    if n < 2:
        raise InputError(f"an interval needs at least 2 replications, got n={n}.")
    runs = [dict(measure(seed + i)) for i in range(n)]
    if any(run.keys() != runs[0].keys() for run in runs):
        raise InputError("each replication must measure the same names.")
    values = {name: _finite([run[name] for run in runs], name, 1) for name in runs[0]}
    return {
        name: Interval(mean=float(v.mean()), half=float(1.96 * v.std(ddof=1) / sqrt(n))) for name, v in values.items()
    }


def _frechet(mean_D: Floats, root_x: Floats, root_y: Floats) -> float:
    traces = float((root_x**2).sum() + (root_y**2).sum())
    common = float(np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum())
    return max(0.0, float(mean_D @ mean_D) + traces - 2 * common)


def _root(cov_DD: Floats) -> Floats:
    """R with R'R equal to a covariance; what its rounding error made of zeros is left out."""
    scale = float(np.abs(cov_DD).max())
    values, vectors = np.linalg.eigh(cov_DD)
    noise = len(cov_DD) * np.finfo(np.float64).eps * scale
    if np.abs(cov_DD - cov_DD.T).max() > 1e-6 * scale or values[0] < -1e-6 * scale:
        raise InputError("a covariance must be symmetric, without negative eigenvalues: compute it over samples.")
    root: Floats = np.sqrt(np.where(values > noise, values, 0))[:, None] * vectors.T
    return root


def _kernel_sum(x_ND: Floats, y_MD: Floats) -> float:
    blocks = (x_ND[i : i + BLOCK] for i in range(0, len(x_ND), BLOCK))
    return float(sum((((block @ y_MD.T) / x_ND.shape[1] + 1) ** 3).sum() for block in blocks))


def _finite(values: ArrayLike, what: str, axes: int) -> Floats:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; torch's bfloat16, gradients, other devices
        raise InputError(f"{what} must be numbers in one array: {error}") from error
    if array.ndim != axes:
        raise InputError(f"{what} must have {axes} axes, got shape {array.shape}.")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise InputError(f"{what}: {bad} of {array.size} values are not finite; look at what made them.")
    return array


def _samples(x_ND: ArrayLike, least: int = 1) -> Floats:
    x = _finite(x_ND, "features", 2)
    if len(x) < least or not x.shape[1]:
        raise InputError(f"at least {least} samples of 1 feature are needed, got (N, D) = {x.shape}.")
    return x


def _same_width(x_ND: ArrayLike, y_MD: ArrayLike, least: int) -> tuple[Floats, Floats]:
    x, y = _samples(x_ND, least), _samples(y_MD, least)
    if x.shape[1] != y.shape[1]:
        raise InputError(f"both need features of one extractor, got widths {x.shape[1]} and {y.shape[1]}.")
    return x, y


def _pairs(text_ND: ArrayLike, motion_ND: ArrayLike) -> tuple[Floats, Floats]:
    text, motion = _same_width(text_ND, motion_ND, least=1)
    if len(text) != len(motion):
        raise InputError(f"each text needs its motion, got {len(text)} texts and {len(motion)} motions.")
    return text, motion
