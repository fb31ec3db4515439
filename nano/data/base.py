"""What the base model learns: copying, reading about random entities, adopting a joint answer, the server's formats.

It sees every word and wording, but no private fact, and it is never asked to calculate, trace or edit by itself.
"""

import random

from aiflow import prompts
from aiflow.nano.data import names, server
from aiflow.nano.data.dialogue import Dialogue, Turn, ask
from aiflow.nano.data.scenario import disturb, scenario, style
from aiflow.nano.data.topics import TOPICS, Topic

COPY = ("Repeat: {t}", "Say this again: {t}", "Copy this text: {t}", "Write this once more: {t}")
EVERY = sorted(
    {
        *names.WORDS,
        *names.PEOPLE,
        *names.PEOPLE_SUITE,
        *names.OBJECTS,
        *names.OBJECTS_SUITE,
        *names.BOXES,
        *names.COLOURS,
        *names.SHAPES,
        *names.LETTERS,
    }
)

Known = tuple[str, Topic, dict[str, str]]
"""An entity, its topic and the attributes a passage tells."""


def _chunk(rng: random.Random) -> str:
    kind, count = rng.random(), rng.randint(1, 8)
    if kind < 0.4:
        return ", ".join(rng.choice(EVERY) for _ in range(count))
    if kind < 0.6:
        return " ".join(names.free_name(rng) for _ in range(count))
    if kind < 0.8:
        return ", ".join(str(rng.randint(0, 99)) for _ in range(count))
    return style(rng, rng.choice(("math", "code", "text")))


def copy(rng: random.Random) -> Dialogue:
    """Repeat a text, once to three times in one dialogue."""
    parts: list[Turn] = []
    for _ in range(rng.randint(1, 3)):
        text = _chunk(rng)
        parts += ask(rng.choice(COPY).format(t=text), text)
    return tuple(parts)


def reading(rng: random.Random) -> Dialogue:
    """A passage about one to three entities, then several questions about it."""
    topics = [rng.choice(list(TOPICS.values()))] * 3 if rng.random() < 0.5 else rng.sample(list(TOPICS.values()), 3)
    table: list[Known] = [(names.free_name(rng), t, {}) for t in topics[: rng.randint(1, 3)]]
    lines: list[str] = []
    for x, topic, known in table:
        for a in rng.sample(topic.attributes, rng.randint(2, len(topic.attributes) - 1)):
            known[a.noun] = a.value(rng)
            lines.append(a.fact.format(x=x, v=known[a.noun]))
    if rng.random() < 0.5:
        rng.shuffle(lines)
    parts: list[Turn] = []
    for i in range(rng.randint(4, 8)):
        question, answer = _question(rng, table, follow=i > 0)
        parts += ask(" ".join(lines) + "\n" + question if i == 0 else question, answer)
    return tuple(parts)


def _question(rng: random.Random, table: list[Known], *, follow: bool) -> tuple[str, str]:
    if follow and rng.random() < 0.4 and len(table) == 1:
        _, topic, known = table[0]
        a = rng.choice([a for a in topic.attributes if a.noun in known])
        return topic.follow(rng, "train", a), known[a.noun]
    x, topic, known = rng.choice(table)
    a = rng.choice([a for a in topic.attributes if a.noun in known])
    return topic.first(rng, "train", a, x), known[a.noun]


def revise(rng: random.Random) -> Dialogue:
    """A question, an own answer, the joint answer: the joint answer is final."""
    talk = scenario(rng)
    own = disturb(rng, talk.truth) if rng.random() < 0.5 else style(rng, talk.near)
    history = tuple(Turn(role, text) for role, text in talk.talk)
    return (*history, Turn("assistant", own), *ask(prompts.revise(talk.truth), talk.truth))


def stream(rng: random.Random) -> Dialogue:
    """One dialogue of the base's training data."""
    kind = rng.random()
    if kind < 0.25:
        return copy(rng)
    if kind < 0.55:
        return reading(rng)
    return revise(rng) if kind < 0.65 else server.stream(rng)
