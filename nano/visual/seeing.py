"""Makers of questions on scenes of shapes: existence, counts, attributes, places and relations."""

import random
from collections import Counter
from collections.abc import Callable
from itertools import permutations

from aiflow.nano.visual.asking import Draft, choice, pair, short
from aiflow.nano.visual.scenes import COLOURS, SHAPES, SIDE, Shapes, Thing

# What the first word of a side means on the axis (0: x, 1: y) and with which sign.
AXES = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
SIDES = tuple(AXES)
WHERE = ("left", "right", "above", "below")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
QUARTERS = ("top left", "top right", "bottom left", "bottom right")
COMPARISONS = ("first", "second", "same")
GAP = 10.0


def _single(scene: Shapes) -> list[Thing]:
    """The things that are the only ones of their kind, so that the kind names them."""
    kinds = Counter(t.kind for t in scene.things)
    return [t for t in scene.things if kinds[t.kind] == 1]


def _beyond(side: str, a: Thing, b: Thing) -> float:
    """By how many pixels a's centre lies on that side of b's."""
    axis, sign = AXES[side]
    return sign * (a.centre[axis] - b.centre[axis])


def _two(rng: random.Random, scene: Shapes, fit: Callable[[Thing, Thing], bool]) -> tuple[Thing, Thing] | None:
    """Two things with names that fit, in random order."""
    pairs = [p for p in permutations(_single(scene), 2) if fit(*p)]
    return rng.choice(pairs) if pairs else None


def _best(a: Thing, b: Thing) -> tuple[str, float, float]:
    """The side on which a lies farthest from b, by how much, and by how much on the other axis."""
    dx, dy = a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]
    if abs(dx) >= abs(dy):
        return ("left of" if dx < 0 else "right of"), abs(dx), abs(dy)
    return ("above" if dy < 0 else "below"), abs(dy), abs(dx)


def existence(rng: random.Random, scene: Shapes) -> Draft | None:
    """mme: a shape of a colour that is there, and one that is not."""
    here = {(t.colour, t.kind) for t in scene.things}
    colour, kind = rng.choice(sorted(here))
    others = [(c, kind) for c in COLOURS] + [(colour, k) for k in SHAPES]
    no = rng.choice([o for o in others if o not in here])
    seen = (_colours(scene, kind), _colours(scene, no[1]))
    return pair(kind, f"Is there {_article(colour)} {kind}?", f"Is there {_article(no[0])} {no[1]}?", seen)


def _colours(scene: Shapes, kind: str) -> str:
    """The colours in which a kind is there, or "none"."""
    here = {t.colour for t in scene.things if t.kind == kind}
    return ", ".join(c for c in COLOURS if c in here) or "none"


def _article(colour: str) -> str:
    return f"an {colour}" if colour == "orange" else f"a {colour}"


def count_pair(rng: random.Random, scene: Shapes) -> Draft | None:
    """mme: a right and a wrong number (2 to 4) of a kind or of all objects."""
    kinds = Counter(t.kind for t in scene.things)
    subjects = {"objects": len(scene.things), **{f"{k}s" if k != "cross" else "crosses": n for k, n in kinds.items()}}
    known = sorted((s, n) for s, n in subjects.items() if 2 <= n <= 4)
    if not known:
        return None
    subject, number = rng.choice(known)
    wrong = rng.choice([n for n in (2, 3, 4) if n != number])
    return pair(str(number), f"Are there {number} {subject}?", f"Are there {wrong} {subject}?")


def colour_pair(rng: random.Random, scene: Shapes) -> Draft | None:
    """mme: a shape's colour and another colour."""
    things = _single(scene)
    if not things:
        return None
    thing = rng.choice(things)
    wrong = rng.choice([c for c in COLOURS if c != thing.colour])
    return pair(thing.colour, f"Is the {thing.kind} {thing.colour}?", f"Is the {thing.kind} {wrong}?")


def position_pair(rng: random.Random, scene: Shapes) -> Draft | None:
    """mme: on which side of another shape a shape is, and the opposite side."""
    two = _two(rng, scene, lambda a, b: _best(a, b)[1] >= GAP)
    if two is None:
        return None
    a, b = two
    side = rng.choice([s for s in SIDES if _beyond(s, a, b) >= GAP])
    return pair(side, f"Is the {a.kind} {side} the {b.kind}?", f"Is the {a.kind} {OPPOSITE[side]} the {b.kind}?")


def identity(rng: random.Random, scene: Shapes) -> Draft | None:
    """seed: the one of four kinds that is in the picture."""
    here = {t.kind for t in scene.things}
    absent = [k for k in SHAPES if k not in here]
    if len(absent) < 3:
        return None
    return choice(rng, "Which shape is there?", rng.choice(sorted(here)), rng.sample(absent, 3))


def colour_of(rng: random.Random, scene: Shapes) -> Draft | None:
    """seed: the colour of a shape."""
    things = _single(scene)
    if not things:
        return None
    thing = rng.choice(things)
    others = rng.sample([c for c in COLOURS if c != thing.colour], 3)
    return choice(rng, f"What colour is the {thing.kind}?", thing.colour, others)


def count_all(rng: random.Random, scene: Shapes) -> Draft | None:
    """seed: the number of objects."""
    number = len(scene.things)
    others = rng.sample([str(n) for n in range(1, 6) if n != number], 3)
    return choice(rng, "How many objects are there?", str(number), others)


def location(rng: random.Random, scene: Shapes) -> Draft | None:
    """seed: the quarter of the picture that holds a shape's centre (5 pixels or more inside)."""
    things = [t for t in _single(scene) if min(abs(c - SIDE / 2) for c in t.centre) >= 5]
    if not things:
        return None
    thing = rng.choice(things)
    x, y = thing.centre
    where = ("top" if y < SIDE / 2 else "bottom") + (" left" if x < SIDE / 2 else " right")
    return choice(rng, f"Where is the {thing.kind}?", where, [q for q in QUARTERS if q != where])


def relation(rng: random.Random, scene: Shapes) -> Draft | None:
    """seed: the direction from one shape to another, where one axis clearly dominates."""
    two = _two(rng, scene, lambda a, b: _best(a, b)[1] >= max(GAP, 2 * _best(a, b)[2]))
    if two is None:
        return None
    a, b = two
    where = WHERE[SIDES.index(_best(a, b)[0])]
    return choice(rng, f"Where is the {a.kind} from the {b.kind}?", where, [w for w in WHERE if w != where])


def shape_of(rng: random.Random, scene: Shapes) -> Draft | None:
    """mmbench: the only shape of a colour."""
    colours = Counter(t.colour for t in scene.things)
    things = [t for t in scene.things if colours[t.colour] == 1]
    if not things:
        return None
    thing = rng.choice(things)
    return choice(rng, f"Which shape is {thing.colour}?", thing.kind, _kinds(rng, scene, thing, 3))


def _kinds(rng: random.Random, scene: Shapes, thing: Thing, count: int) -> list[str]:
    """Wrong kinds, those of the picture first."""
    here = sorted({t.kind for t in scene.things} - {thing.kind})
    absent = [k for k in SHAPES if k != thing.kind and k not in here]
    return [*rng.sample(here, len(here)), *rng.sample(absent, len(absent))][:count]


def sizes(rng: random.Random, scene: Shapes) -> Draft | None:
    """mmbench: the bigger of two shapes, or none of them."""
    same = rng.random() < 0.35
    two = _two(rng, scene, lambda a, b: (a.size == b.size) == same)
    if two is None:
        return None
    a, b = two
    result = "same" if a.size == b.size else "first" if a.size > b.size else "second"
    texts = {"first": a.kind, "second": b.kind, "same": "same size"}
    draft = choice(
        rng, f"Which is bigger, {a.kind} or {b.kind}?", texts[result], [t for r, t in texts.items() if r != result]
    )
    return draft._replace(content=result)


def which_side(rng: random.Random, scene: Shapes) -> Draft | None:
    """mmbench: which of three shapes is the only one on a side of a fourth."""
    things, cases = _single(scene), []
    for centre in things:
        for side in SIDES:
            by = sorted((t for t in things if t is not centre), key=lambda t: -_beyond(side, t, centre))
            if len(by) >= 3 and _beyond(side, by[0], centre) >= 4 and _beyond(side, by[1], centre) <= -3:
                cases.append((side, centre, by[0], rng.sample(by[1:], 2)))
    if not cases:
        return None
    side, centre, right, wrong = rng.choice(cases)
    draft = choice(rng, f"Which is {side} the {centre.kind}?", right.kind, [t.kind for t in wrong])
    return draft._replace(content=side)


def count_colour(rng: random.Random, scene: Shapes) -> Draft | None:
    """mmstar: how many objects have a colour."""
    counts = Counter(t.colour for t in scene.things)
    colour = rng.choice([*(t.colour for t in scene.things), rng.choice([c for c in COLOURS if c not in counts])])
    number = counts[colour]
    if number > 3:
        return None
    others = [str(n) for n in range(4) if n != number]
    return choice(rng, f"How many {colour} objects are there?", str(number), others)


def odd(rng: random.Random, scene: Shapes) -> Draft | None:
    """mmstar: the shape whose colour differs from that of all others."""
    counts = Counter(t.colour for t in scene.things)
    if len(counts) != 2 or sorted(counts.values())[0] != 1 or len(scene.things) < 3:
        return None
    thing = next(t for t in scene.things if counts[t.colour] == 1)
    return choice(rng, "Which shape has another colour?", thing.kind, _kinds(rng, scene, thing, 3))


def extreme(rng: random.Random, scene: Shapes) -> Draft | None:
    """mmstar: the leftmost, rightmost, highest or lowest of three or more shapes."""
    if len(scene.things) < 3:
        return None
    cases = []
    for side, word in zip(SIDES, ("leftmost", "rightmost", "highest", "lowest"), strict=True):
        first, second, *_ = sorted(scene.things, key=lambda t: -AXES[side][1] * t.centre[AXES[side][0]])
        if _beyond(side, first, second) >= 5:
            cases.append((word, first))
    if not cases:
        return None
    word, first = rng.choice(cases)
    return choice(rng, f"Which shape is {word}?", first.kind, _kinds(rng, scene, first, 3))


def bigger(rng: random.Random, scene: Shapes) -> Draft | None:
    """realworldqa: the bigger of two shapes."""
    two = _two(rng, scene, lambda a, b: a.size != b.size)
    if two is None:
        return None
    a, b = two
    return short(f"Which is bigger, {a.kind} or {b.kind}?", max(two, key=lambda t: t.size).kind)


def lower(rng: random.Random, scene: Shapes) -> Draft | None:
    """realworldqa: the lower, higher or more outward of two shapes."""
    side, words = rng.choice(
        (("below", "lower"), ("above", "higher"), ("left of", "further left"), ("right of", "further right"))
    )
    two = _two(rng, scene, lambda a, b: abs(_beyond(side, a, b)) >= 6)
    if two is None:
        return None
    a, b = two
    return short(f"Which is {words}, {a.kind} or {b.kind}?", a.kind if _beyond(side, a, b) > 0 else b.kind)


def how_many(rng: random.Random, scene: Shapes) -> Draft | None:  # noqa: ARG001 - makers share one signature
    """realworldqa: the number of objects."""
    return short("How many objects are there?", str(len(scene.things)))
