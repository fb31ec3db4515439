"""The training stream: pictures with dialogues, and pictures with dense labels. Never uses the suites' instances."""

import random

from aiflow.nano.data.dialogue import Dialogue, ask
from aiflow.nano.visual import draw, questions
from aiflow.nano.visual.captions import caption
from aiflow.nano.visual.scenes import MAKERS, Scene, scene

# Nearly half of the pictures show shapes, on which five forms ask; words say little each, and take longest.
SHARES = dict.fromkeys(MAKERS, 1.0) | {"shapes": 4.5, "word": 2.5}

# Categories that few scenes allow, or that take longer to learn, are tried more often.
WEIGHTS: dict[tuple[questions.Form, str], float] = {
    ("mmbench", "relation"): 8.0,
    ("mmbench", "size"): 2.0,
    ("mmstar", "odd"): 4.0,
    ("mmstar", "extreme"): 2.0,
    ("seed", "relation"): 2.0,
    ("seed", "location"): 2.0,
    ("mme", "position"): 3.0,
    ("realworldqa", "bigger"): 2.0,
    ("realworldqa", "place"): 2.0,
    ("ocrbench", "text"): 6.0,
    ("ocrbench", "character"): 2.0,
    ("chartqa", "value"): 4.0,
    ("chartqa", "extreme"): 3.0,
}


def _scene(rng: random.Random) -> Scene:
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    return scene(rng, kind, "train")


def _choices(kind: str) -> tuple[list[tuple[questions.Form, str]], list[float]]:
    """The categories for a kind of scene and how often to try them."""
    pairs = [(f, c) for f in questions.forms(kind) for c in [*questions.CATEGORIES[f], *questions.EXTRA.get(f, {})]]
    return pairs, [WEIGHTS.get(p, 1.0) for p in pairs]


def lesson(rng: random.Random, *, count: tuple[int, int] = (4, 7), plain: float = 0.0) -> tuple[draw.Pixels, Dialogue]:
    """A picture (64, 64, 3) and questions on it, their answers as targets.

    The text has no image tokens: they belong at the start of the first user turn. No prompt occurs twice, and of a
    yes/no pair one question at random, so that no answer follows from another. Some lessons are a caption instead.

    Args:
        rng: the source of chance.
        count: least and most questions; fewer where the picture does not allow them.
        plain: share of the questions with options that are asked without them; their answers are the same.
    """
    if rng.random() < CAPTIONS:
        return described(rng)
    shown = _scene(rng)
    pairs, weights = CHOICES[type(shown).__name__.lower()]
    wanted = rng.randint(*count)
    turns: dict[str, str] = {}
    for form, category in rng.choices(pairs, weights, k=60):
        drawn = questions.draw(rng, form, category, shown)
        if drawn is not None:
            asked = rng.choice(drawn[1])
            short = plain and asked.options and rng.random() < plain
            turns.setdefault(asked.prompt.split("\n")[0] if short else asked.prompt, asked.said)
        if len(turns) == wanted:
            break
    order = list(turns.items())
    rng.shuffle(order)
    return draw.render(shown), tuple(t for q, a in order for t in ask(q, a))


def many(rng: random.Random) -> tuple[draw.Pixels, Dialogue]:
    """A lesson of many questions, mostly without options: twice as many answers for the same tokens."""
    return lesson(rng, count=(8, 12), plain=0.6)


CAPTIONS = 0.25
"""Share of lessons that are a caption and nothing else, so that no answer can be read from it."""
CHOICES = {k: _choices(k) for k in MAKERS}


def described(rng: random.Random) -> tuple[draw.Pixels, Dialogue]:
    """A picture and its caption."""
    shown = _scene(rng)
    return draw.render(shown), ask(*caption(shown))


def pretraining(rng: random.Random) -> tuple[draw.Pixels, draw.Pixels]:
    """A picture (64, 64, 3) and its patches' labels (64, len(HEADS))."""
    return draw.both(_scene(rng))
