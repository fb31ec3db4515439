"""Interleaved training sequences: solo recordings and recorded pairs fused into one scene (the paper's data for INS).

The first pair stands where it was recorded; every other segment is moved in the ground plane so that it continues the
segment before it (both persons of a pair by one motion), and the pose is cross-faded over `FADE` frames. Bones stay
exact, because positions are computed anew from rotations. Knows no network. Source: AI Flow section IV-B1; how exactly
is our own choice, the paper does not say.

Legend: T frames, P persons.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aiflow.diffusion.motion import scene
from aiflow.diffusion.motion.features import (
    canonical,
    from_bones,
    joints,
    mirrored,
    moved,
    skeleton_motion,
    swapped,
)
from aiflow.diffusion.motion.scene import FRAMES, KIND, Clip, mirrored_words, swapped_words
from aiflow.diffusion.motion.skeleton import MIRRORED, Floats, facing, to_6d, unit
from aiflow.errors import InputError

FADE = 5
TRIED = 12
"""Pairs among which a later meeting is chosen: the one whose persons begin at the most similar distance."""


@dataclass(kw_only=True)
class Recordings:
    """What was recorded: clips of one person, and pairs. Solo clips are found by their length."""

    solos: dict[int, list[Clip]]
    pairs: list[Clip]


def recordings(solos: Sequence[Clip], pairs: Sequence[Clip]) -> Recordings:
    """Sorts clips for `interleaved`. Raises InputError if either is missing or has the wrong number of persons."""
    by_length: dict[int, list[Clip]] = defaultdict(list)
    for clip in solos:
        by_length[clip.frames].append(clip)
    wrong = [len(c.u_PT) for c in solos if len(c.u_PT) != 1] + [len(c.u_PT) for c in pairs if len(c.u_PT) != 2]
    if not solos or not pairs or wrong:
        raise InputError(f"interleaving needs clips of one person and of two; got {len(solos)} and {len(pairs)}.")
    return Recordings(solos=dict(by_length), pairs=list(pairs))


def varied(clip: Clip, rng: np.random.Generator) -> Clip:
    """The clip, by chance mirrored, by chance (two persons) with the persons exchanged."""
    u_PT, caption, parts, touches = clip.u_PT, clip.caption, clip.parts, clip.touches
    if rng.random() < 0.5:
        sides = MIRRORED
        touches = tuple(replace(t, joint_one=sides[t.joint_one], joint_two=sides[t.joint_two]) for t in touches)
        u_PT, caption, parts = mirrored(u_PT), mirrored_words(caption), tuple(map(mirrored_words, parts))
    if len(u_PT) == 2 and rng.random() < 0.5:
        touches = tuple(replace(t, joint_one=t.joint_two, joint_two=t.joint_one) for t in touches)
        u_PT, caption, parts = swapped(u_PT), swapped_words(caption), tuple(map(swapped_words, parts))
    return replace(clip, u_PT=u_PT, caption=caption, parts=parts, touches=touches)


def interleaved(layout: str, recorded: Recordings, rng: np.random.Generator) -> Clip:
    """One scene of two persons, like ``"sis"``: s a solo segment (a clip for each person), i a pair.

    The layout needs an ``i``, and fits FRAMES if pairs take up to 20 frames each.
    """
    meetings = [_pick(recorded.pairs, rng) for kind in layout if kind == "i"]
    left = FRAMES - sum(one.frames for one in meetings)
    queue, segments, parts = iter(meetings), [], []
    for kind in layout:
        if kind == "i":
            clip = next(queue)
            segments.append(clip.u_PT)
            parts.append(clip.caption)
            continue
        allowed = [n for n in recorded.solos if n <= min(left // layout.count("s"), 18)]
        if not allowed:
            raise InputError(f"no solo clip is short enough for the layout {layout!r} in {FRAMES} frames.")
        n = allowed[int(rng.integers(len(allowed)))]
        alone = [_pick(recorded.solos[n], rng) for _ in range(2)]
        segments.append(np.concatenate([one.u_PT for one in alone]))
        parts.append(scene.solo_words([one.caption for one in alone], rng))
    starts = np.cumsum([0, *(s.shape[1] for s in segments)])[:-1]
    later = [i for i, kind in enumerate(layout) if kind == "i"]
    for second in later[1:]:  # a later pair that begins about as far apart as the one before it ended
        segments[second], parts[second], meetings[later.index(second)] = _near(
            recorded, segments[second - 1 if layout[second - 1] == "i" else later[0]], segments[second].shape[1], rng
        )
    touches = [
        replace(t, start=t.start + int(starts[i]), stop=t.stop + int(starts[i]))
        for i, clip in zip(later, meetings, strict=True)
        for t in clip.touches
    ]
    return Clip(
        u_PT=fused(segments, layout),
        caption=scene.sentence(parts, rng),
        kinds=tuple(KIND[kind] for kind in layout),
        starts=tuple(int(s) for s in starts),
        touches=tuple(touches),
        parts=tuple(parts),
    )


def _pick(clips: list[Clip], rng: np.random.Generator) -> Clip:
    return varied(clips[int(rng.integers(len(clips)))], rng)


def _near(
    recorded: Recordings, before: NDArray[np.float32], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], str, Clip]:
    fitting = [clip for clip in recorded.pairs if clip.frames == n]
    tried = [fitting[int(k)] for k in rng.integers(len(fitting), size=TRIED)]
    ended = _apart(before[:, -1])
    clip = varied(min(tried, key=lambda c: abs(_apart(c.u_PT[:, 0]) - ended)), rng)
    return clip.u_PT, clip.caption, clip


def _apart(u_P: NDArray[np.float32]) -> float:
    """Distance of the two pelvises on the ground."""
    return float(np.hypot(u_P[1, 0] - u_P[0, 0], u_P[1, 2] - u_P[0, 2]))


def fused(segments: list[NDArray[np.float32]], layout: str) -> NDArray[np.float32]:
    """(2, T, 262): the segments (2, n, 262) one after the other, moved to where the others are, and cross-faded."""
    first = layout.index("i")
    placed: list[NDArray[np.float32]] = [segments[first]]
    for segment in reversed(segments[:first]):  # solos before the meeting end where it begins
        placed.insert(0, np.stack([_aligned(segment[p], -1, placed[0][p], 0) for p in (0, 1)]))
    for kind, segment in zip(layout[first + 1 :], segments[first + 1 :], strict=True):
        if kind == "i":
            placed.append(_procrustes(segment, placed[-1]))
        else:
            placed.append(np.stack([_aligned(segment[p], 0, placed[-1][p], -1) for p in (0, 1)]))
    persons = [_faded([segment[p] for segment in placed]) for p in (0, 1)]
    return canonical(np.stack(persons))


def _aligned(u_T: NDArray[np.float32], mine: int, other_T: NDArray[np.float32], theirs: int) -> NDArray[np.float32]:
    """Moved so that frame ``mine`` has the place and heading of the other's frame ``theirs``."""
    yaw = float(facing(joints(other_T[theirs])) - facing(joints(u_T[mine])))
    spun = moved(u_T, yaw, np.zeros(3))
    shift = joints(other_T[theirs])[0] - joints(spun[mine])[0]
    return moved(spun, 0.0, shift * np.array([1.0, 0.0, 1.0]))


def _procrustes(u_PT: NDArray[np.float32], before_PT: NDArray[np.float32]) -> NDArray[np.float32]:
    """A pair moved as one, so that its two pelvises begin as near as possible to where they are."""
    here, there = joints(u_PT[:, 0])[:, 0], joints(before_PT[:, -1])[:, 0]
    a, b = here[1] - here[0], there[1] - there[0]
    yaw = float(np.arctan2(b[0], b[2]) - np.arctan2(a[0], a[2]))
    spun = moved(u_PT, yaw, np.zeros(3))
    shift = there.mean(0) - joints(spun[:, 0])[:, 0].mean(0)
    return moved(spun, 0.0, shift * np.array([1.0, 0.0, 1.0]))


def _faded(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(T, 262): one person's segments; each begins in the pose in which the one before it ended."""
    roots: list[Floats] = []
    spins: list[Floats] = []
    locals_: list[Floats] = []
    for part in parts:
        root_T3, root_T33, local_TR33 = skeleton_motion(part)
        if roots:
            held = np.clip((np.arange(1, len(part) + 1)) / (FADE + 1), 0, 1)
            keep = 1 - held * held * (3 - 2 * held)
            root_T3 = root_T3 + keep[:, None] * (roots[-1][-1] - root_T3[0])
            root_T33 = _blend(spins[-1][-1], root_T33, keep[:, None, None])
            local_TR33 = _blend(locals_[-1][-1], local_TR33, keep[:, None, None, None])
        roots.append(root_T3)
        spins.append(root_T33)
        locals_.append(local_TR33)
    return from_bones(np.concatenate(roots), np.concatenate(spins), to_6d(np.concatenate(locals_)))


def _blend(held: Floats, new: Floats, keep: Floats) -> Floats:
    """Rotations between a held one and new ones, made orthonormal again."""
    mix = keep * held + (1 - keep) * new
    x = unit(mix[..., 0])
    y = unit(mix[..., 1] - (x * mix[..., 1]).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


__all__ = ["FADE", "Recordings", "fused", "interleaved", "recordings", "varied"]
