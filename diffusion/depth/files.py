"""NYU-V2 and KITTI from folders that people have: file lists as BTS, AdaBins and ZoeDepth use them, or pairs by name.

A list has a line "image depth focal" per image, paths from the root; "None" as depth is left out. KITTI's depth is
16-bit PNG in 1/256 m, NYU-V2's in 1/1000 m; .npy is metres. 0 is unknown. Matlab's .mat of NYU-V2 needs h5py.
Knows no model and no metric.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from aiflow.diffusion.depth.metrics import kb_crop
from aiflow.errors import DataError, InputError

Dataset = Literal["nyu", "kitti"]
UNITS = {"nyu": 1000.0, "kitti": 256.0}
"""Steps of a 16-bit PNG in a metre."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Where an image and its depth lie. ``focal``: pixels; None where the list says none."""

    image: Path
    depth: Path
    focal: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """``image_HW3`` u1, ``depth_HW`` f4 in metres (0: unknown)."""

    image_HW3: NDArray[np.uint8]
    depth_HW: NDArray[np.float32]
    name: str
    focal: float | None


def read_list(path: Path, root: Path, depth_root: Path | None = None) -> list[Pair]:
    """The pairs of a file list. ``depth_root``: where depth lies if not under ``root``.

    Raises DataError for a list that is missing, empty or malformed, or that names missing files.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list {path} cannot be read: {error}") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or (len(words) > 1 and words[1] == "None"):
            continue
        if len(words) not in (2, 3):
            raise DataError(f"{path}:{number}: expected 'image depth focal', got {line!r}")
        image, depth = root / words[0].lstrip("/"), (depth_root or root) / words[1].lstrip("/")
        for file in (image, depth):
            if not file.is_file():
                raise DataError(f"{path}:{number}: {file} is missing; give the folder that holds {words[0]!r} as root.")
        pairs.append(Pair(image=image, depth=depth, focal=_focal(words, path, number)))
    if not pairs:
        raise DataError(f"the list {path} names no image with depth.")
    return pairs


def find_pairs(root: Path, image: str = "rgb_*", depth: str = "sync_depth_*") -> list[Pair]:
    """Pairs without a list: files that match the two patterns, below ``root``, and have the same text for ``*``.

    Raises DataError if there are none.
    """
    found: dict[Any, list[Path | None]] = {}
    for pattern, place in ((image, 0), (depth, 1)):
        before, _, after = pattern.partition("*")
        for file in sorted(root.rglob(pattern + ("" if Path(pattern).suffix else ".*"))):
            stem = file.stem if not Path(pattern).suffix else file.name
            key = (file.parent, stem[len(before) : len(stem) - len(after) or None])
            found.setdefault(key, [None, None])[place] = file
    pairs = [Pair(image=a, depth=b) for a, b in found.values() if a and b]
    if not pairs:
        raise DataError(f"{root} holds no pairs {image!r} and {depth!r}; say the patterns, or give a list.")
    return pairs


def samples(pairs: list[Pair], dataset: Dataset, *, crop: bool = True) -> Iterator[Sample]:
    """Reads them one after another. ``crop``: KITTI's 352 x 1216, as its protocol asks.

    Raises DataError for files that cannot be read or do not fit each other, InputError for an unknown data set.
    """
    if dataset not in UNITS:
        raise InputError(f"the data set {dataset!r} is unknown; use 'nyu' or 'kitti'.")
    for pair in pairs:
        image, depth = read_image(pair.image), read_depth(pair.depth, dataset)
        if image.shape[:2] != depth.shape:
            raise DataError(f"{pair.image} has {image.shape[:2]} pixels, {pair.depth} {depth.shape}; they are no pair.")
        if crop and dataset == "kitti":
            image, depth = kb_crop(image), kb_crop(depth)
        yield Sample(image_HW3=image, depth_HW=depth, name=str(pair.image), focal=pair.focal)


def read_image(path: Path) -> NDArray[np.uint8]:
    """``(H, W, 3)``. Raises DataError."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"the image {path} cannot be read: {error}") from error


def read_depth(path: Path, dataset: Dataset) -> NDArray[np.float32]:
    """``(H, W)`` metres of a 16-bit PNG or an .npy file. Raises DataError."""
    eight = False
    try:
        if path.suffix == ".npy":
            depth = np.load(path, allow_pickle=False).astype(np.float32)
        else:
            with Image.open(path) as image:
                raw: NDArray[Any] = np.asarray(image)
            eight = raw.dtype == np.uint8
            depth = raw.astype(np.float32) / np.float32(UNITS[dataset])
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise DataError(f"the depth {path} cannot be read: {error}") from error
    if eight:
        raise DataError(f"{path} has 8 bits; depth needs 16 (was it converted?).")
    if depth.ndim != 2:
        raise DataError(f"the depth {path} has the shape {depth.shape}, expected (H, W).")
    if not np.isfinite(depth).all() or depth.min() < 0:
        raise DataError(f"the depth {path} holds NaN, infinity or negative metres; write 0 for unknown.")
    found: NDArray[np.float32] = depth
    return found


def read_mat(path: Path) -> Iterator[Sample]:
    """The labelled NYU-V2 file ``nyu_depth_v2_labeled.mat`` (HDF5); needs h5py. Raises DataError."""
    try:
        import h5py  # type: ignore[import-not-found]
    except ImportError as error:
        raise DataError(f"{path} needs h5py: `pip install h5py`, or give PNG files.") from error
    try:
        with h5py.File(path) as file:
            images, depths = file["images"], file["depths"]  # (N, 3, W, H), (N, W, H)
            for number in range(len(images)):
                yield _turned(images[number], depths[number], f"{path.name}#{number}")
    except (OSError, KeyError) as error:
        raise DataError(f"{path} is no labelled NYU-V2 file: {error}") from error


def _turned(image_3WH: Any, depth_WH: Any, name: str) -> Sample:
    image_HW3 = np.ascontiguousarray(np.transpose(image_3WH, (2, 1, 0)))
    return Sample(image_HW3=image_HW3, depth_HW=np.ascontiguousarray(depth_WH.T, np.float32), name=name, focal=None)


def _focal(words: list[str], path: Path, number: int) -> float | None:
    if len(words) < 3:
        return None
    try:
        return float(words[2])
    except ValueError as error:
        raise DataError(f"{path}:{number}: the focal length {words[2]!r} is no number.") from error
