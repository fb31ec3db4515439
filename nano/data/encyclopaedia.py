"""The private facts of two devices: 60 invented islands and 60 invented minerals with six attributes each.

Facts appear only in the training data of their own device and in the held-out questions. Everything else that needs an
encyclopaedia question draws random entities (`random_pair`), which no encyclopaedia owns.
"""

import random
from collections.abc import Callable
from functools import cache

from aiflow.nano.data import names
from aiflow.nano.data.dialogue import Pair, Split
from aiflow.nano.data.math import on_number
from aiflow.nano.data.text import on_list
from aiflow.nano.data.topics import ISLANDS, MINERALS, Attribute, Topic

ENTITIES = 60
PRIVATE = {"islands": 0, "minerals": 1}
Lookup = Callable[[str, Attribute], str]


@cache
def facts(topic: str) -> dict[tuple[str, str], str]:
    """All facts of an encyclopaedia: (entity, attribute noun) -> value."""
    rng = random.Random(f"{names.ENTITY_SEED} {topic}")
    source = {"islands": ISLANDS, "minerals": MINERALS}[topic]
    return {(x, a.noun): a.value(rng) for x in names.private_names(PRIVATE[topic], ENTITIES) for a in source.attributes}


def entity(rng: random.Random, topic: Topic, private: bool) -> tuple[str, Lookup]:
    """An entity and its lookup: a real one of the encyclopaedia, or a random one whose values are made up on demand."""
    if private:
        x = rng.choice(names.private_names(PRIVATE[topic.name], ENTITIES))
        return x, lambda e, a: facts(topic.name)[e, a.noun]
    return names.free_name(rng), lambda _, a: a.value(rng)


def topic_pair(rng: random.Random, split: Split, topic: Topic, *, private: bool) -> Pair:
    """A question about an entity, then an elliptical one about another attribute."""
    x, lookup = entity(rng, topic, private)
    one, two = rng.sample(topic.attributes, 2)
    return Pair(
        category=topic.name,
        turns=(topic.first(rng, split, one, x), topic.follow(rng, split, two)),
        answers=(lookup(x, one), lookup(x, two)),
    )


def _with(rng: random.Random, split: Split, topic: Topic, kind: str, private: bool) -> tuple[str, str]:
    x, lookup = entity(rng, topic, private)
    attribute = rng.choice([a for a in topic.attributes if a.kind == kind])
    return topic.first(rng, split, attribute, x), lookup(x, attribute)


def facts_then_math(rng: random.Random, split: Split, topic: Topic, *, private: bool) -> Pair:
    """A number from an encyclopaedia, then a computation on it."""
    question, value = _with(rng, split, topic, "number", private)
    follow, second = on_number(rng, split, int(value))
    return Pair(category="facts_then_math", turns=(question, follow), answers=(value, second))


def facts_then_text(rng: random.Random, split: Split, topic: Topic, *, private: bool) -> Pair:
    """A list from an encyclopaedia, then an edit of it."""
    question, value = _with(rng, split, topic, "list", private)
    follow, second = on_list(rng, split, value.split(", "))
    return Pair(category="facts_then_text", turns=(question, follow), answers=(value, second))
