"""What two procedural people do together. What they share (where, how high, how fast, who, which hand) is drawn once.

Both approach, turn to each other, act, and end in the neutral pose. Legend: n frames of a segment.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from aiflow.diffusion.motion.actions import (
    APPROACH,
    FPS,
    SIDES,
    SIGN,
    Act,
    Place,
    Touch,
    envelope,
    foot,
    gesture,
    in_world,
    reach,
    smooth,
    stand,
)
from aiflow.diffusion.motion.body import Track, torso
from aiflow.diffusion.motion.skeleton import SHOULDERS, Floats, turn


def walk(track: Track, a: Place, b: Place, start: int, stop: int) -> None:
    """Moves root and feet from a to b between two frames, with as many steps as the way needs, and stays there."""
    n = len(track)
    f = np.arange(n, dtype=np.float64)
    far = float(np.hypot(b.x - a.x, b.z - a.z))
    bend_yaw = (b.yaw - a.yaw + np.pi) % (2 * np.pi) - np.pi
    go = smooth((f - start) / (stop - start))
    delta = np.array([b.x - a.x, 0.0, b.z - a.z])
    before = track.root_F3 * np.array([1.0, 0.0, 1.0])
    hands_body = (track.hands_F23 - before[:, None]) @ turn(track.yaw_F)
    track.root_F3 += go[:, None] * delta
    track.yaw_F += go * bend_yaw
    track.hands_F23[:] = in_world(track, hands_body)
    swings = 2 if far < 0.55 else 3 if far < 0.95 else 4
    when = np.linspace(start, stop, swings + 1)
    at = [np.array(foot(a, side, 1)[0]) for side in (0, 1)]
    feet = [np.repeat(one[None], n, axis=0) for one in at]
    for k in range(swings):
        side, share = k % 2, 1.0 if k >= swings - 2 else (k + 1.5) / swings
        here = Place(x=a.x + share * delta[0], z=a.z + share * delta[2], yaw=a.yaw + share * bend_yaw)
        goal = np.array(foot(here, side, 1)[0])
        u = np.clip((f - when[k]) / (when[k + 1] - when[k]), 0, 1)
        feet[side] += smooth(u)[:, None] * (goal - at[side])
        feet[side][:, 1] += 0.08 * np.sin(np.pi * u)
        at[side] = goal
    track.feet_F24[:] = np.stack(feet, axis=1)
    track.root_F3[:, 1] -= 0.03 * np.sin(np.pi * np.clip((f - start) / (stop - start), 0, 1))


@dataclass(kw_only=True)
class Meeting:
    """Two people who came together: their tracks, and the middle and direction (one to two) of where they stand."""

    one: Track
    two: Track
    places: tuple[Place, Place]
    middle: Floats
    axis: Floats
    rng: np.random.Generator

    @property
    def aside(self) -> Floats:
        """Horizontal, to the left of person one."""
        return np.array([self.axis[2], 0.0, -self.axis[0]])

    def __len__(self) -> int:
        return len(self.one)


def meet(places: tuple[Place, Place], n: int, rng: np.random.Generator) -> Meeting:
    """Both walk to a point that they share, turn to each other, and stand there from frame APPROACH - 1 on."""
    a, b = (np.array([p.x, 0.0, p.z]) for p in places)
    span = b - a
    far = float(np.linalg.norm(span))
    angle = np.arctan2(span[0], span[2]) + rng.uniform(-0.3, 0.3)
    axis = np.array([np.sin(angle), 0.0, np.cos(angle)])
    middle = a + span * (0.5 + rng.uniform(-0.15, 0.15) * min(1.0, far / 1.5)) + rng.uniform(-0.08, 0.08) * axis
    apart = rng.uniform(0.58, 0.72)
    ends = [middle - apart / 2 * axis, middle + apart / 2 * axis]
    goals = (
        Place(x=ends[0][0], z=ends[0][2], yaw=float(angle)),
        Place(x=ends[1][0], z=ends[1][2], yaw=float(angle + np.pi)),
    )
    tracks = []
    for start, goal in zip(places, goals, strict=True):
        track = stand(start, n, rng)
        walk(track, start, goal, 0, APPROACH - 1)
        tracks.append(track)
    return Meeting(one=tracks[0], two=tracks[1], places=goals, middle=middle, axis=axis, rng=rng)


def _touch_point(m: Meeting, height: float, spread: float = 0.05) -> Floats:
    """A point between the two, the same for every frame."""
    point: Floats = m.middle + np.array([0.0, height, 0.0]) + m.rng.uniform(-spread, spread) * m.aside
    return point


def _hold(m: Meeting, stop: int, late: int = 0) -> Floats:
    """Weight of a hand that arrives at frame APPROACH and leaves after ``stop``."""
    start, end = APPROACH - 4 + late, min(len(m) - 1, stop + 4)
    return envelope(len(m), APPROACH - start, end - stop, start, end)


def _shake(m: Meeting, *, side: int) -> list[Touch]:
    n, stop = len(m), len(m) - 4
    point = np.repeat(_touch_point(m, m.rng.uniform(0.95, 1.15))[None], n, axis=0)
    beat = np.maximum(0.0, np.arange(n) - APPROACH)
    point[:, 1] += m.rng.uniform(0.05, 0.1) * np.sin(2 * np.pi * m.rng.uniform(1.0, 1.6) * beat / FPS)
    for track in (m.one, m.two):
        reach(track, side, point, _hold(m, stop))
    return [Touch(start=APPROACH, stop=stop + 1, joint_one=20 + side, joint_two=20 + side)]


def _brief(m: Meeting, *, side: int, low: float, high: float) -> list[Touch]:
    """Hands meet once: a high five, a bump of fists."""
    point, stop = _touch_point(m, m.rng.uniform(low, high)), APPROACH + 1
    for track in (m.one, m.two):
        reach(track, side, np.repeat(point[None], len(m), axis=0), _hold(m, stop))
    return [Touch(start=APPROACH, stop=stop + 1, joint_one=20 + side, joint_two=20 + side)]


def _give(m: Meeting, *, giver: int, side: int) -> list[Touch]:
    point, stop = _touch_point(m, m.rng.uniform(1.0, 1.2)), APPROACH + 3
    path = np.repeat(point[None], len(m), axis=0)
    for who, track in enumerate((m.one, m.two)):
        if who == giver:
            reach(track, side, path, _hold(m, stop))
        else:  # takes it later, and keeps it at the chest for a while
            reach(track, side, path, _hold(m, stop, late=2))
            gesture(track, side, np.array([0.08, 1.15, 0.25]), envelope(len(m), 3, 3, stop + 1))
    return [Touch(start=APPROACH, stop=stop + 1, joint_one=20 + side, joint_two=20 + side)]


def _mirror(m: Meeting, *, leader: int, side: int) -> list[Touch]:
    n, lag = len(m), int(m.rng.integers(2, 4))
    f = np.arange(n, dtype=np.float64)
    rate, phase, size = m.rng.uniform(0.6, 1.0), m.rng.random(), m.rng.uniform(0.15, 0.25)
    for who, track in enumerate((m.one, m.two)):
        late, hand = (0, side) if who == leader else (lag, 1 - side)
        angle = 2 * np.pi * (rate * (f - late) / FPS + phase)
        point = np.stack([0.3 + size * np.cos(angle), 1.35 + size * np.sin(angle), np.full(n, 0.3)], axis=-1)
        gesture(track, hand, point, envelope(n, 4, 3, APPROACH - 4 + late))
    return []


def _bow(m: Meeting, *, deeper: int) -> list[Touch]:
    down = envelope(len(m), 5, 5, APPROACH - 2)
    for who, track in enumerate((m.one, m.two)):
        depth = m.rng.uniform(0.75, 0.9) if who == deeper else m.rng.uniform(0.3, 0.42)
        away = m.axis * (-1 if who == 0 else 1)
        track.pitch_F += depth * down
        track.root_F3 += (0.08 * depth * down)[:, None] * away
    return []


def _push(m: Meeting, *, pusher: int) -> list[Touch]:
    tracks, n, stop = (m.one, m.two), len(m), APPROACH + 2
    victim, other = tracks[1 - pusher], 1 - pusher
    back = m.axis * (1 if other == 1 else -1) * m.rng.uniform(0.3, 0.5)
    here = m.places[other]
    there = Place(x=here.x + back[0], z=here.z + back[2], yaw=here.yaw)
    rest = stand(here, n, m.rng)
    walk(rest, here, there, stop, min(n - 1, stop + 6))
    for name in ("root_F3", "hands_F23", "feet_F24"):
        getattr(victim, name)[APPROACH:] = getattr(rest, name)[APPROACH:]
    victim.pitch_F -= 0.3 * envelope(n, 2, 4, stop, stop + 6)
    shoulders = torso(victim)[0]
    lean = envelope(n, 4, 4, APPROACH - 4, stop + 4)
    tracks[pusher].pitch_F += 0.3 * lean
    tracks[pusher].root_F3 += (0.15 * lean)[:, None] * m.axis * (1 if pusher == 0 else -1)
    for side in (0, 1):
        reach(tracks[pusher], side, shoulders[SHOULDERS[1 - side]], _hold(m, stop))
    m.places = (there, m.places[1]) if other == 0 else (m.places[0], there)
    hands, touched = (20, 21), (SHOULDERS[1], SHOULDERS[0])
    pairs = zip(hands, touched, strict=True) if pusher == 0 else zip(touched, hands, strict=True)
    return [Touch(start=APPROACH, stop=stop + 1, joint_one=one, joint_two=two) for one, two in pairs]


def _hold_hands(m: Meeting) -> list[Touch]:
    n, stop = len(m), len(m) - 4
    height, wide = m.rng.uniform(0.95, 1.1), m.rng.uniform(0.15, 0.25)
    beat = np.maximum(0.0, np.arange(n) - APPROACH)
    sway = m.rng.uniform(0.06, 0.12) * np.sin(2 * np.pi * m.rng.uniform(0.5, 0.9) * beat / FPS)
    for side in (0, 1):
        point = m.middle + np.array([0.0, height, 0.0]) + (SIGN[side] * wide + sway)[:, None] * m.aside
        reach(m.one, side, point, _hold(m, stop))
        reach(m.two, 1 - side, point, _hold(m, stop))
    return [Touch(start=APPROACH, stop=stop + 1, joint_one=20 + side, joint_two=21 - side) for side in (0, 1)]


PEOPLE = ("person one", "person two")
TOGETHER: dict[str, Callable[[Meeting], list[Touch]]] = {
    **{f"they shake {s} hands": partial(_shake, side=k) for k, s in enumerate(SIDES)},
    **{f"they high five with the {s} hand": partial(_brief, side=k, low=1.4, high=1.6) for k, s in enumerate(SIDES)},
    **{f"they bump {s} fists": partial(_brief, side=k, low=1.05, high=1.2) for k, s in enumerate(SIDES)},
    **{
        f"{PEOPLE[who]} gives an object to {PEOPLE[1 - who]} with the {s} hand": partial(_give, giver=who, side=k)
        for who in (0, 1)
        for k, s in enumerate(SIDES)
    },
    **{
        f"{PEOPLE[who]} leads with the {s} hand and {PEOPLE[1 - who]} mirrors": partial(_mirror, leader=who, side=k)
        for who in (0, 1)
        for k, s in enumerate(SIDES)
    },
    **{f"they bow and {PEOPLE[who]} bows deeper": partial(_bow, deeper=who) for who in (0, 1)},
    **{f"{PEOPLE[who]} pushes {PEOPLE[1 - who]}": partial(_push, pusher=who) for who in (0, 1)},
    "they hold both hands": _hold_hands,
}
"""The words of an interaction, and what it does to two people who meet."""


def together(
    name: str, places: tuple[Place, Place], n: int, rng: np.random.Generator
) -> tuple[Act, tuple[Place, Place]]:
    """Both persons' segment of ``n`` frames, and where they stand afterwards."""
    meeting = meet(places, n, rng)
    touches = TOGETHER[name](meeting)
    return Act(tracks=[meeting.one, meeting.two], words=name, touches=touches), meeting.places
