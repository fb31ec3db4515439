"""Clips of one's own: a folder for each modality, a clip as a folder of frames or an ``.npz``, and captions.

    clips/rgb/0001/000.png ...   clips/depth/0001.npz (array "clip": (T, H, W) or (T, 3, H, W))   clips/captions.json

Depth frames are used as they are (mapped to [-1, 1]); nothing is estimated, nothing downloaded.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiflow.diffusion.video.data import FRAMES, MODALITIES, SIZE, Floats
from aiflow.errors import DataError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")


def read_clips(
    folder: str | Path,
    *,
    modalities: Sequence[str] = MODALITIES,
    frames: int = FRAMES,
    size: tuple[int, int] = (SIZE, SIZE),
) -> tuple[dict[str, Floats], list[str]]:
    """Views (N, T, 3, H, W) in [-1, 1] of each modality, and the captions ("" where there is none).

    Longer clips are sampled evenly to ``frames``, every frame is resized to ``size``.

    Raises DataError: no such folder, a clip that one modality lacks, too few frames, a file that is no picture.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is no folder; it should hold {', '.join(modalities)}.")
    names = {name: _clips(root / name) for name in modalities}
    wanted = sorted(set().union(*names.values()))
    for modality, found in names.items():
        missing = [clip for clip in wanted if clip not in found]
        if missing or not found:
            raise DataError(
                f"{root / modality} lacks clip {missing[0] if missing else '(any)'!r}; each modality needs each clip."
            )
    views = {
        modality: np.stack([_read(found[clip], frames, size) for clip in wanted]) for modality, found in names.items()
    }
    return views, _captions(root / "captions.json", wanted)


def _clips(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is missing: a folder with a clip in each of its folders or .npz files.")
    return {p.stem: p for p in sorted(folder.iterdir()) if p.is_dir() or p.suffix == ".npz"}


def _read(path: Path, frames: int, size: tuple[int, int]) -> Floats:
    clip = _array(path) if path.suffix == ".npz" else _pictures(path)
    if len(clip) < frames:
        raise DataError(f"{path} has {len(clip)} frames, {frames} are needed.")
    chosen = clip[np.linspace(0, len(clip) - 1, frames).round().astype(int)]
    return np.stack([_resized(one, size) for one in chosen])


def _pictures(folder: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURES]
    read = []
    for file in files:
        try:
            with Image.open(file) as image:
                read.append(np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 127.5 - 1)
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(f"{file} is no picture that can be read: {error}") from error
    if len({one.shape for one in read}) > 1:
        raise DataError(f"the frames in {folder} differ in size.")
    return np.array(read)


def _array(path: Path) -> Any:
    try:
        with np.load(path, allow_pickle=False) as file:
            clip = np.asarray(file["clip"], np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f'{path} holds no array "clip" that can be read: {error}') from error
    if clip.ndim == 3:
        clip = np.repeat(clip[:, None], 3, axis=1)
    if clip.ndim != 4 or clip.shape[1] != 3 or not np.isfinite(clip).all() or np.abs(clip).max(initial=0) > 1:
        raise DataError(f"{path}: a clip is (T, H, W) or (T, 3, H, W), finite, in [-1, 1]; got {clip.shape}.")
    return clip


def _resized(frame_3HW: Any, size: tuple[int, int]) -> Floats:
    from PIL import Image

    if frame_3HW.shape[1:] == size:
        return np.asarray(frame_3HW, np.float32)
    channels = [
        np.asarray(Image.fromarray(np.asarray(c, np.float32)).resize(size[::-1], Image.Resampling.BILINEAR))
        for c in frame_3HW
    ]
    return np.asarray(np.clip(np.stack(channels), -1, 1), np.float32)


def _captions(path: Path, names: Sequence[str]) -> list[str]:
    if not path.exists():
        return [""] * len(names)
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no JSON: {error}") from error
    if not isinstance(said, dict) or not all(isinstance(v, str) for v in said.values()):
        raise DataError(f"{path} must map the names of clips to texts.")
    return [said.get(name, "") for name in names]
