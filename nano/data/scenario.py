"""Conversations with a known right domain, as the server meets them: any topic, random entities, no private fact.

A scenario knows which domain suits its last question (``right``) and which comes next (``near``); devices describe
themselves in one of several paraphrases.
"""

import random
from dataclasses import dataclass

from aiflow.nano.data import encyclopaedia, names
from aiflow.nano.data.code import code
from aiflow.nano.data.dialogue import Pair, Split
from aiflow.nano.data.math import arithmetic, word_problems
from aiflow.nano.data.text import text
from aiflow.nano.data.topics import TOPICS

ABOUTS = {
    "math": (
        "arithmetic and word problems",
        "mathematics",
        "calculating with numbers",
        "sums and word problems",
        "arithmetic",
    ),
    "code": ("small programs and what they print", "reading python code", "tracing programs", "programming"),
    "text": ("editing lists of words", "sorting and editing words", "word lists", "text editing"),
    **{name: topic.abouts for name, topic in TOPICS.items()},
}
CORE = ("math", "code", "text", "islands", "minerals")
OTHERS = ("ships", "castles", "plants", "stars")
NEAR = {
    "math": "code",
    "code": "math",
    "text": "code",
    "islands": "minerals",
    "minerals": "islands",
    "ships": "islands",
    "castles": "islands",
    "plants": "minerals",
    "stars": "minerals",
}
ALIASES = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "phone",
    "tablet",
    "laptop",
    "watch",
    "node",
    "edge",
    "camera",
    "robot",
    "helper",
    "expert",
    "device",
    "model",
    "agent",
    "speaker",
)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Turns of a conversation that ends with a question; its answer, its right domain and the next best one."""

    talk: tuple[tuple[str, str], ...]
    truth: str
    right: str
    near: str


def pair(rng: random.Random, split: Split, domain: str) -> Pair:
    """A two-turn item inside one domain, with random entities."""
    if domain == "math":
        return (arithmetic if rng.random() < 0.5 else word_problems)(rng, split)
    if domain in TOPICS:
        return encyclopaedia.topic_pair(rng, split, TOPICS[domain], private=False)
    return {"code": code, "text": text}[domain](rng, split)


def domain(rng: random.Random) -> str:
    """A random domain, mostly one of the five devices that ship."""
    return rng.choice(CORE if rng.random() < 0.7 else OTHERS)


def scenario(rng: random.Random) -> Scenario:
    """One question, a follow-up inside a domain, a follow-up for another domain, or a change of subject."""
    first, kind = domain(rng), rng.random()
    if kind < 0.2:
        topic = TOPICS[first if first in TOPICS else rng.choice(CORE[3:])]
        if rng.random() < 0.5 or not any(a.kind == "list" for a in topic.attributes):
            item, right = encyclopaedia.facts_then_math(rng, "train", topic, private=False), "math"
        else:
            item, right = encyclopaedia.facts_then_text(rng, "train", topic, private=False), "text"
        return _second(item, right, topic.name)
    item = pair(rng, "train", first)
    if kind < 0.55:
        return Scenario(talk=(("user", item.turns[0]),), truth=item.answers[0], right=first, near=NEAR[first])
    if kind < 0.85:
        return _second(item, first, NEAR[first])
    other = domain(rng)
    late = pair(rng, "train", other)
    joined = Pair(category=other, turns=(item.turns[0], late.turns[0]), answers=(item.answers[0], late.answers[0]))
    return _second(joined, other, first if first != other else NEAR[first])


def _second(item: Pair, right: str, near: str) -> Scenario:
    talk = (("user", item.turns[0]), ("assistant", item.answers[0]), ("user", item.turns[1]))
    return Scenario(talk=talk, truth=item.answers[1], right=right, near=near)


def style(rng: random.Random, domain_: str) -> str:
    """A plausible answer in the manner of a domain's device, to any question."""
    item = pair(rng, "train", domain_)
    return rng.choice(item.answers)


def disturb(rng: random.Random, answer: str) -> str:
    """A wrong answer of the same form: other numbers, words or names."""
    words = answer.split(" ")
    if len(words) > 2 and "=" not in words and all(w.strip(",") in names.WORDS for w in words):
        swapped = rng.sample(words, len(words)) if rng.random() < 0.4 else rng.sample(names.WORDS, len(words))
        return ", ".join(w.strip(",") for w in swapped)
    if any(w.strip(",.").isdigit() for w in words):
        return " ".join(_renumber(rng, w) for w in words)
    pools = (names.COLOURS, names.ANIMALS, names.SHAPES, names.WORDS)
    pool = next((p for p in pools if answer in p), None)
    return rng.choice(pool) if pool else names.free_name(rng)


def _renumber(rng: random.Random, word: str) -> str:
    bare = word.strip(",.")
    if not bare.isdigit() or rng.random() < 0.5:
        return word
    return word.replace(bare, str(max(0, int(bare) + rng.choice((-10, -2, -1, 1, 2, 3, 10)))))
