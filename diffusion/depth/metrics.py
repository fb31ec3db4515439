"""Depth metrics of one image, and the crops, ranges and resizing of the NYU-V2 and KITTI protocols. float64 numpy.

Metrics are computed per image and then averaged over images, as ZoeDepth, AdaBins and BTS do. Knows no model.
Legend: H W pixels of the ground truth, I images, S scores of an image in the order of `NAMES`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aiflow.errors import InputError

NAMES = ("delta1", "delta2", "delta3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")
Crop = Literal["none", "nyu_eigen", "kitti_garg", "kitti_eigen"]
SHARES = {
    "kitti_garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "kitti_eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}
"""Rows from, rows to, columns from, columns to, as shares."""
NYU_SIZE, NYU_CROP = (480, 640), (45, 471, 41, 601)
KB_SIZE = (352, 1216)
LEAST = 1e-3
"""Metres to which nearer predictions are raised."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which pixels count: a range in metres and a crop."""

    low: float
    high: float
    crop: Crop = "none"


PROTOCOLS = {
    "nyu": Protocol(low=LEAST, high=10.0, crop="nyu_eigen"),
    "kitti": Protocol(low=LEAST, high=80.0, crop="kitti_garg"),
    "kitti_eigen": Protocol(low=LEAST, high=80.0, crop="kitti_eigen"),
    "indoor": Protocol(low=LEAST, high=10.0),
    "outdoor": Protocol(low=LEAST, high=80.0),
    "distant": Protocol(low=80.0, high=200.0),
}


def score(prediction_HW: NDArray[Any], truth_HW: NDArray[Any], protocol: Protocol) -> dict[str, float] | None:
    """The metrics of one image by name; None if no pixel of the truth counts.

    Args:
        prediction_HW: metres, at any size; infinity counts as the range's end and NaN as its start.
        truth_HW: metres; 0, NaN or infinity: unknown.
        protocol: the range and the crop.

    Raises InputError for arrays that are no images, or a crop that needs another size.
    """
    truth = np.asarray(truth_HW, dtype=np.float64)
    if truth.ndim != 2 or np.ndim(prediction_HW) != 2:
        raise InputError(f"depth of shapes {np.shape(prediction_HW)} and {truth.shape} cannot be compared; use (H, W).")
    with np.errstate(invalid="ignore"):
        counts = (truth > protocol.low) & (truth < protocol.high) & crop_mask(truth.shape, protocol.crop)
    if not counts.any():
        return None
    p = within(resize(prediction_HW, truth.shape), protocol)[counts]
    return dict(zip(NAMES, _formulas(p, truth[counts]), strict=True))


def _formulas(p: NDArray[np.float64], g: NDArray[np.float64]) -> list[float]:
    ratio, off, logs = np.maximum(p / g, g / p), p - g, np.log(p) - np.log(g)
    values = [np.mean(ratio < 1.25**i) for i in (1, 2, 3)]
    values += [np.mean(np.abs(off) / g), np.mean(off**2 / g), np.sqrt(np.mean(off**2))]
    values += [np.sqrt(np.mean(logs**2)), np.mean(np.abs(np.log10(p) - np.log10(g))), 100 * np.std(logs)]
    return [float(value) for value in values]


def within(depth: NDArray[Any], protocol: Protocol) -> NDArray[np.float64]:
    """Clamped to the range, from `LEAST` on; infinity to its end, NaN to its start."""
    known = np.nan_to_num(np.asarray(depth, np.float64), nan=LEAST, posinf=protocol.high, neginf=LEAST)
    return np.clip(known, LEAST, protocol.high)


def crop_mask(shape: tuple[int, ...], crop: Crop) -> NDArray[np.bool_]:
    """True where pixels count. Raises InputError for an unknown crop, or NYU's at another size than 480 x 640."""
    rows, columns = shape
    if crop == "none":
        return np.ones((rows, columns), dtype=bool)
    if crop == "nyu_eigen":
        if (rows, columns) != NYU_SIZE:
            raise InputError(f"the Eigen crop of NYU-V2 is for {NYU_SIZE} pixels, not {(rows, columns)}.")
        top, bottom, left, right = NYU_CROP
    elif crop in SHARES:
        a, b, c, d = SHARES[crop]
        top, bottom, left, right = int(a * rows), int(b * rows), int(c * columns), int(d * columns)
    else:
        raise InputError(f"the crop {crop!r} is unknown; use none, nyu_eigen, kitti_garg or kitti_eigen.")
    mask = np.zeros((rows, columns), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def kb_crop(array: NDArray[Any]) -> NDArray[Any]:
    """KITTI's bottom middle 352 x 1216 of an image or depth. Raises InputError if it is smaller."""
    rows, columns = array.shape[:2]
    height, width = KB_SIZE
    if rows < height or columns < width:
        raise InputError(f"KITTI's crop needs at least {KB_SIZE} pixels, not {(rows, columns)}.")
    top, left = rows - height, (columns - width) // 2
    return array[top : top + height, left : left + width]


def resize(depth_HW: NDArray[Any], size: tuple[int, ...]) -> NDArray[np.float64]:
    """Bilinear, corners aligned, as the published protocols do. Infinite pixels spread to their neighbours."""
    d = np.asarray(depth_HW, dtype=np.float64)
    if d.shape == tuple(size):
        return d
    for axis, count in enumerate(size):
        at = np.linspace(0, d.shape[axis] - 1, count)
        low = np.minimum(at.astype(int), max(0, d.shape[axis] - 2))
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(2)])
        high = np.minimum(low + 1, d.shape[axis] - 1)
        a, b = d.take(low, axis), d.take(high, axis)
        d = np.where(share == 0, a, np.where(share == 1, b, a * (1 - share) + b * share))
    return d


def mirrored(predict: Callable[[NDArray[Any]], NDArray[Any]], image_HW3: NDArray[Any]) -> NDArray[Any]:
    """The mean of the prediction and of the mirror image's, an option of the published protocols."""
    both: NDArray[Any] = (predict(image_HW3) + predict(image_HW3[:, ::-1])[:, ::-1]) / 2
    return both


def table(scores: Iterable[dict[str, float] | None]) -> NDArray[np.float64]:
    """``scores_IS``; NaN for an image without pixels that count."""
    return np.array([[_or_nan(one, name) for name in NAMES] for one in scores], dtype=np.float64)


def _or_nan(one: dict[str, float] | None, name: str) -> float:
    return float("nan") if one is None else one[name]
