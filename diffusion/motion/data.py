"""The procedural data set: clips from (seed, split, index), and batches of them as tensors.

Solo clips are cheap and many; pairs are recorded as they happen (one meeting); scenes hold both in free order, and are
what is evaluated. Knows no network.

Legend: N clips, B batch, P=2 persons, T frames, L words, 262 features, C=6 numbers of the time cue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiflow.diffusion.motion.features import WIDTH, moved
from aiflow.diffusion.motion.interleave import interleaved, recordings
from aiflow.diffusion.motion.scene import FRAMES, LAYOUTS, Clip, Draft, draft, solo_clip, solved
from aiflow.errors import InputError

WORDS = 48
"""Tokens of the longest caption."""
KINDS = ("solo", "interaction")
CUES = 6
SPLITS = {"evaluator": 0, "test": 1, "validation": 2, "solo": 3, "pairs": 4, "interleaved": 5, "statistics": 6}
LAYOUT_NAMES = tuple(name for name, _ in LAYOUTS)
LAYOUT_SHARES = tuple(share for _, share in LAYOUTS)
SHORTEST = 16


def _rng(split: str, seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng((SPLITS[split], seed, index))


def scenes(split: str, count: int, seed: int = 0) -> list[Clip]:
    """Two-person scenes in free order: what is tested, and what the evaluator learns."""
    drafts = []
    for index in range(count):
        rng = _rng(split, seed, index)
        drafts.append(draft(str(rng.choice(LAYOUT_NAMES, p=LAYOUT_SHARES)), rng))
    return solved(drafts)


def pairs(count: int, seed: int = 0) -> list[Clip]:
    """Meetings as they were recorded: two people approach each other and interact."""
    return solved([draft("i", _rng("pairs", seed, index)) for index in range(count)])


def solos(count: int, seed: int = 0) -> list[Clip]:
    """One person, one action; the caption is the action's words alone."""
    drafts = []
    for index in range(count):
        track, words = solo_clip(_rng("solo", seed, index))
        drafts.append(Draft(tracks=[track], parts=[words], kinds=("solo",), starts=(0,), touches=(), caption=words))
    return solved(drafts)


def sequences(solo: Sequence[Clip], pair: Sequence[Clip], count: int, seed: int = 0) -> list[Clip]:
    """Interleaved scenes made of recordings (`interleave`)."""
    recorded, made = recordings(solo, pair), []
    for index in range(count):
        rng = _rng("interleaved", seed, index)
        made.append(interleaved(str(rng.choice(LAYOUT_NAMES, p=LAYOUT_SHARES)), recorded, rng))
    return made


def placed(solo: Sequence[Clip], pair: Sequence[Clip], count: int, seed: int = 0) -> list[Clip]:
    """Solo clips as one of two persons of a scene: the other's half is empty (NaN), the words name the one.

    Person two stands where a person two of a recorded pair began.
    """
    made = []
    for index in range(count):
        rng = _rng("solo", seed + 1_000_000, index)
        clip = solo[int(rng.integers(len(solo)))]
        who, u_T = int(rng.integers(2)), clip.u_PT[0]
        if who:
            like = pair[int(rng.integers(len(pair)))].u_PT[1, 0]
            across = like[6:9] - like[3:6]
            u_T = moved(u_T, float(np.arctan2(across[2], -across[0])), np.array([like[0], 0.0, like[2]]))
        u_PT = np.full((2, *u_T.shape), np.nan, dtype=np.float32)
        u_PT[who] = u_T
        made.append(replace(clip, u_PT=u_PT, caption=f"person {('one', 'two')[who]} {clip.caption}"))
    return made


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Clips as tensors. ``mask_N2T`` is True where a person has a frame; captions stay text."""

    u_N2TC: Tensor
    """(N, 2, T, 262) float32, zero where there is nothing."""
    mask_N2T: Tensor
    cue_NTC: Tensor
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def tokens(self) -> int:
        """Frames of persons."""
        return int(self.mask_N2T.sum())

    def __getitem__(self, rows: Tensor) -> "Pack":
        """The clips at these indices."""
        captions = tuple(self.captions[int(row)] for row in rows)
        return Pack(
            u_N2TC=self.u_N2TC[rows], mask_N2T=self.mask_N2T[rows], cue_NTC=self.cue_NTC[rows], captions=captions
        )


def pack(clips: Sequence[Clip], frames: int = FRAMES) -> Pack:
    """Tensors of clips of two persons (NaN: a person who is not there). Raises InputError for a clip too long."""
    u_N2TC = torch.zeros(len(clips), 2, frames, WIDTH)
    mask = torch.zeros(len(clips), 2, frames, dtype=torch.bool)
    for row, clip in enumerate(clips):
        if clip.frames > frames:
            raise InputError(f"a clip has {clip.frames} frames, at most {frames} fit; cut it.")
        u_PT = torch.from_numpy(clip.u_PT)
        there = ~u_PT.isnan().any(dim=-1)
        mask[row, :, : clip.frames] = there
        u_N2TC[row, :, : clip.frames] = torch.where(there[..., None], u_PT, 0.0)
    cues = torch.stack([cue(clip.kinds, clip.starts, clip.frames, frames) for clip in clips])
    return Pack(u_N2TC=u_N2TC, mask_N2T=mask, cue_NTC=cues, captions=tuple(clip.caption for clip in clips))


def join(packs: Sequence[Pack]) -> Pack:
    """The clips of several packs, one after the other."""
    return Pack(
        u_N2TC=torch.cat([one.u_N2TC for one in packs]),
        mask_N2T=torch.cat([one.mask_N2T for one in packs]),
        cue_NTC=torch.cat([one.cue_NTC for one in packs]),
        captions=tuple(caption for one in packs for caption in one.captions),
    )


def cue(kinds: Sequence[str], starts: Sequence[int], frames: int, padded: int = FRAMES) -> Tensor:
    """Temporal control (T, 6): kind 1 | 2, number of the segment, frames since its start and until its end.

    The columns are [kind, number, since, until, since/length, 1], all 0 after the last frame and without control.
    """
    out = torch.zeros(padded, CUES)
    ends = [*starts[1:], frames]
    for number, (kind, start, end) in enumerate(zip(kinds, starts, ends, strict=True)):
        f = torch.arange(start, end, dtype=torch.float32)
        out[start:end, 0] = 1 + KINDS.index(kind)
        out[start:end, 1] = number
        out[start:end, 2] = f - start
        out[start:end, 3] = end - 1 - f
        out[start:end, 4] = (f - start) / max(1, end - 1 - start)
        out[start:end, 5] = 1
    return out


def statistics(packs: Sequence[Pack]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (262,) of the features; what never changes counts as of deviation 1."""
    frames = torch.cat([one.u_N2TC[one.mask_N2T] for one in packs])
    std = frames.std(dim=0)
    return frames.mean(dim=0), torch.where(std < 1e-3, torch.ones_like(std), std.clamp_min(0.02))


def check_segments(segments: Sequence[tuple[Any, Any]], frames: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Kinds and starts of segments ``(kind, first frame)``. Raises InputError."""
    if not SHORTEST <= frames <= FRAMES:
        raise InputError(f"a clip has {SHORTEST} to {FRAMES} frames, not {frames}.")
    if not segments or len(segments) > 4:
        raise InputError(f"a clip has 1 to 4 segments, not {len(segments)}.")
    kinds, starts = tuple(kind for kind, _ in segments), tuple(start for _, start in segments)
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"a segment is 'solo' or 'interaction', not {kind!r}.")
    if not all(isinstance(start, int) for start in starts) or starts[0] != 0:
        raise InputError(f"segments begin at whole frames, the first at 0; got {list(starts)}.")
    if any(b - a < 4 for a, b in zip(starts, [*starts[1:], frames], strict=True)):
        raise InputError(f"segments follow each other and last 4 frames or more; got {list(starts)} of {frames}.")
    return kinds, starts
