"""The InterHuman data set from its own folder, as the same arrays that the procedural data has. Nothing is downloaded.

    <folder>/train.txt, val.txt, test.txt     names, one per line; ignore_list.txt may name some to leave out
    <folder>/motions_processed/person1/<name>.npy, person2/<name>.npy    (T, 62 * 3 positions + rotations), 30 a second
    <folder>/annots/<name>.txt                captions, one per line

Knows no network. Layout and processing follow InterGen's loader.

Legend: T frames, P=2 persons, J=22 joints, R=21 local rotations.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aiflow.diffusion.motion.features import canonical, features, mirrored, swapped
from aiflow.diffusion.motion.scene import Clip, mirrored_words
from aiflow.errors import DataError, InputError

FPS = 30
SPLITS = ("train", "val", "test")
JOINTS_IN_FILE = 62
SHORTEST, LONGEST = 15, 300
AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""From z-up to y-up: p' = AXES p."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One recorded pair: features (2, T, 262) and what people said about it."""

    name: str
    u_PT: NDArray[np.float32]
    captions: tuple[str, ...]

    def clip(self, rng: np.random.Generator, longest: int = LONGEST, vary: bool = False) -> Clip:
        """A random window of at most ``longest`` frames with one of the captions; ``vary``: mirrored, exchanged."""
        frames = self.u_PT.shape[1]
        start = int(rng.integers(frames - longest + 1)) if frames > longest else 0
        caption = self.captions[int(rng.integers(len(self.captions)))]
        u_PT = canonical(self.u_PT[:, start : start + longest])
        if vary and rng.random() < 0.5:
            u_PT, caption = mirrored(u_PT), mirrored_words(caption)
        if vary and rng.random() < 0.5:
            u_PT = swapped(u_PT)  # these captions do not number the persons
        return Clip(u_PT=u_PT, caption=caption, kinds=("interaction",), starts=(0,), parts=(caption,))


class InterHuman:
    """The recordings of a split, read when asked for. Raises DataError for what is missing or malformed."""

    def __init__(self, folder: str | Path, split: str = "train", stride: int = 1) -> None:
        """``stride``: every so many frames are kept (3: 10 a second)."""
        if split not in SPLITS:
            raise InputError(f"InterHuman has the splits {', '.join(SPLITS)}, not {split!r}.")
        if stride < 1:
            raise InputError(f"the stride is 1 or more frames, not {stride}.")
        self.folder, self.stride = Path(folder).expanduser(), stride
        ignored = set(_lines(self.folder / "ignore_list.txt")) if (self.folder / "ignore_list.txt").exists() else set()
        self.names = [name for name in _lines(self.folder / f"{split}.txt") if name not in ignored]
        if not self.names:
            raise DataError(f"{self.folder / f'{split}.txt'} names no recording that is not ignored.")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Recording:
        """Reads one recording."""
        name = self.names[index]
        captions = tuple(_lines(self.folder / "annots" / f"{name}.txt"))
        if not captions:
            raise DataError(f"{self.folder / 'annots' / f'{name}.txt'} holds no caption.")
        files = [self.folder / "motions_processed" / f"person{who}" / f"{name}.npy" for who in (1, 2)]
        raw = [_read(path)[:: self.stride] for path in files]
        if len(raw[0]) != len(raw[1]):
            raise DataError(f"{name}: person one has {len(raw[0])} frames, person two {len(raw[1])}.")
        if len(raw[0]) <= SHORTEST:
            raise DataError(f"{name}: {len(raw[0])} frames at stride {self.stride}, more than {SHORTEST} are needed.")
        return Recording(name=name, u_PT=canonical(np.stack([_person(one) for one in raw])), captions=captions)


def _person(raw: NDArray[np.float64]) -> NDArray[np.float32]:
    """(T - 1, 262) of one person's file, on the floor, y up, where it was recorded."""
    joints_TJ3 = raw[:, :66].reshape(-1, 22, 3) @ AXES.T
    joints_TJ3[..., 1] -= joints_TJ3[..., 1].min()
    at = JOINTS_IN_FILE * 3
    return features(joints_TJ3, raw[:, at : at + 126].reshape(-1, 21, 6))[:-1]


def _read(path: Path) -> NDArray[np.float64]:
    try:
        raw = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    needed = JOINTS_IN_FILE * 3 + 126
    if not isinstance(raw, np.ndarray) or raw.ndim != 2 or raw.shape[1] < needed or raw.dtype.kind != "f":
        found = getattr(raw, "shape", type(raw).__name__)
        raise DataError(f"{path} holds {found}, expected numbers (frames, {needed} or more).")
    if not np.isfinite(raw).all():
        raise DataError(f"{path} holds NaN or infinity.")
    return raw.astype(np.float64)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
