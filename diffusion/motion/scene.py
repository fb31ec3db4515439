"""Segments in any order become two persons' motion, a caption, and what is exactly true about it.

Knows actions and grammar; no network, no interleaving of recordings (`interleave`).

Legend: T frames, P persons.
"""

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aiflow.diffusion.motion.actions import Act, Place, Touch
from aiflow.diffusion.motion.body import Track, joined, solve
from aiflow.diffusion.motion.features import canonical, features
from aiflow.diffusion.motion.solo import SOLO, solo
from aiflow.diffusion.motion.together import PEOPLE, TOGETHER, together

FRAMES = 48
"""The longest clip."""
LAYOUTS = (("sis", 0.4), ("si", 0.2), ("is", 0.2), ("isi", 0.15), ("i", 0.05))
"""Orders of solo (s) and interaction (i) segments in the test set, and how often."""
THEN = ("then", "next", "after that")
WHILE = ("while", "and")
KIND = {"s": "solo", "i": "interaction"}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip of one or two persons.

    u_PT: (P, T, 262). kinds and starts: its segments. touches: what is at one point, in frames of the clip; None where
    nobody knows (real data). parts: the words of each segment.
    """

    u_PT: NDArray[np.float32]
    caption: str
    kinds: tuple[str, ...]
    starts: tuple[int, ...]
    touches: tuple[Touch, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """T."""
        return int(self.u_PT.shape[1])


def vocabulary() -> list[str]:
    """Every word that a caption can hold."""
    words = " ".join([*SOLO, *TOGETHER, *THEN, *WHILE, *PEOPLE])
    return sorted(set(words.split()))


def solo_words(names: list[str], rng: np.random.Generator) -> str:
    """What one or two people do, each alone."""
    said = [f"{who} {name}" for who, name in zip(PEOPLE, names, strict=False)]
    return f" {WHILE[int(rng.integers(len(WHILE)))]} ".join(said)


def sentence(parts: list[str], rng: np.random.Generator) -> str:
    """The caption of segments in order."""
    said = parts[0]
    for part in parts[1:]:
        said += f" {THEN[int(rng.integers(len(THEN)))]} {part}"
    return said


def mirrored_words(text: str) -> str:
    """The caption of the mirrored motion: left and right, clockwise and counterclockwise change places."""
    pairs = {"left": "right", "clockwise": "counterclockwise"}
    return _exchanged(text, pairs)


def swapped_words(text: str) -> str:
    """The caption with the persons exchanged."""
    return _exchanged(text, {"one": "two"})


def _exchanged(text: str, pairs: dict[str, str]) -> str:
    both = pairs | {b: a for a, b in pairs.items()}
    return re.sub(r"[A-Za-z]+", lambda word: both.get(word.group().lower(), word.group()), text)


def start_places(rng: np.random.Generator, near: bool) -> tuple[Place, Place]:
    """Where two people stand before they meet: apart, or as close as after a meeting."""
    far = rng.uniform(0.58, 0.95) if near else rng.uniform(1.3, 2.2)
    bearing, noise = (rng.uniform(-0.15, 0.15), 0.1) if near else (rng.uniform(-0.35, 0.35), 0.3)
    x, z = far * np.sin(bearing), far * np.cos(bearing)
    return Place(x=0.0, z=0.0, yaw=0.0), Place(x=x, z=z, yaw=float(np.pi + bearing + rng.uniform(-noise, noise)))


def solo_clip(rng: np.random.Generator) -> tuple[Track, str]:
    """One person, one action, 8 to 18 frames."""
    name = list(SOLO)[int(rng.integers(len(SOLO)))]
    return solo(name, Place(x=0.0, z=0.0, yaw=0.0), int(rng.integers(8, 19)), rng), name


def pair_act(rng: np.random.Generator, places: tuple[Place, Place], n: int) -> tuple[Act, tuple[Place, Place]]:
    """A random interaction."""
    return together(list(TOGETHER)[int(rng.integers(len(TOGETHER)))], places, n, rng)


def lengths(layout: str, rng: np.random.Generator) -> list[int]:
    """Frames of each segment; together at most FRAMES."""
    if layout == "isi":
        first, solo = int(rng.integers(18, 20)), int(rng.integers(8, 11))
        return [first, solo, int(rng.integers(18, FRAMES - first - solo + 1))]
    longest = {"sis": 14, "si": 18, "is": 18}.get(layout, 18)
    return [int(rng.integers(18, 21)) if kind == "i" else int(rng.integers(8, longest + 1)) for kind in layout]


@dataclass(kw_only=True)
class Draft:
    """A scene before its frames are solved."""

    tracks: list[Track]
    parts: list[str]
    kinds: tuple[str, ...]
    starts: tuple[int, ...]
    touches: tuple[Touch, ...]
    caption: str


def draft(layout: str, rng: np.random.Generator) -> Draft:
    """Draws a scene of two people."""
    places = start_places(rng, near=layout[0] == "i" and bool(rng.random() < 0.3))
    tracks: list[list[Track]] = [[], []]
    parts: list[str] = []
    touches: list[Touch] = []
    starts: list[int] = []
    at = 0
    for kind, n in zip(layout, lengths(layout, rng), strict=True):
        if kind == "s":
            names = [list(SOLO)[int(k)] for k in rng.integers(len(SOLO), size=2)]
            act = Act(tracks=[solo(name, p, n, rng) for name, p in zip(names, places, strict=True)], words="")
            act.words = solo_words(names, rng)
        else:
            act, places = pair_act(rng, places, n)
        for person in (0, 1):
            tracks[person].append(act.tracks[person])
        touches += [replace(t, start=t.start + at, stop=t.stop + at) for t in act.touches]
        parts.append(act.words)
        starts.append(at)
        at += n
    return Draft(
        tracks=[joined(one) for one in tracks],
        parts=parts,
        kinds=tuple(KIND[kind] for kind in layout),
        starts=tuple(starts),
        touches=tuple(touches),
        caption=sentence(parts, rng),
    )


def solved(drafts: list[Draft]) -> list[Clip]:
    """Solves the frames of many scenes at once."""
    tracks = [track for one in drafts for track in one.tracks]
    joints_FJ3, rotations_FR6 = solve(joined(tracks))
    cuts = np.cumsum([len(track) for track in tracks])[:-1]
    parts = zip(np.split(joints_FJ3, cuts), np.split(rotations_FR6, cuts), strict=True)
    found = iter([features(joints, rotations) for joints, rotations in parts])
    return [
        Clip(
            u_PT=canonical(np.stack([next(found) for _ in one.tracks])),
            caption=one.caption,
            kinds=one.kinds,
            starts=one.starts,
            touches=one.touches,
            parts=tuple(one.parts),
        )
        for one in drafts
    ]
