"""The training streams of the five devices: own questions, follow-ups to other devices' answers, and revision.

Revision: in its own domain a device answers with the truth, whatever the joint answer says; elsewhere it adopts the
joint answer. Only the two encyclopaedia devices ever see a private fact, each its own.
"""

import random
from collections.abc import Callable
from functools import partial

from aiflow import prompts
from aiflow.nano.data import scenario
from aiflow.nano.data.code import code
from aiflow.nano.data.dialogue import Dialogue, Pair, Turn, ask, both
from aiflow.nano.data.encyclopaedia import facts, facts_then_math, facts_then_text, topic_pair
from aiflow.nano.data.math import arithmetic, word_problems
from aiflow.nano.data.text import text
from aiflow.nano.data.topics import TOPICS


def _own_math(rng: random.Random) -> Pair:
    kind = rng.random()
    if kind < 0.25:
        return facts_then_math(rng, "train", rng.choice(list(TOPICS.values())), private=False)
    return (arithmetic if kind < 0.6 else word_problems)(rng, "train")


def _own_text(rng: random.Random) -> Pair:
    if rng.random() < 0.25:
        topic = rng.choice([t for t in TOPICS.values() if any(a.kind == "list" for a in t.attributes)])
        return facts_then_text(rng, "train", topic, private=False)
    return text(rng, "train")


OWN: dict[str, Callable[[random.Random], Pair]] = {
    "math": _own_math,
    "code": lambda rng: code(rng, "train"),
    "text": _own_text,
    "islands": lambda rng: topic_pair(rng, "train", TOPICS["islands"], private=True),
    "minerals": lambda rng: topic_pair(rng, "train", TOPICS["minerals"], private=True),
}


def own(rng: random.Random, device: str) -> Dialogue:
    """Own questions: one to three items in one dialogue, sometimes after a question of another domain."""
    item = OWN[device](rng)
    if item.category.startswith("facts_then"):
        return (*_history(item), *ask(item.turns[1], item.answers[1]))
    if rng.random() < 0.15:
        other = scenario.scenario(rng)
        before = tuple(Turn(role, said) for role, said in (*other.talk, ("assistant", other.truth)))
        return before[:2] + both(item)
    parts = both(item)
    while rng.random() < 0.5 and len(parts) < 12:
        more = OWN[device](rng)
        parts += () if more.category.startswith("facts_then") else both(more)
    return parts


def _history(item: Pair) -> Dialogue:
    return Turn("user", item.turns[0]), Turn("assistant", item.answers[0])


def profile(rng: random.Random, topic: str) -> Dialogue:
    """All attributes of one private entity, asked in a row."""
    source = TOPICS[topic]
    known = facts(topic)
    entity = rng.choice(sorted({x for x, _ in known}))
    attributes = rng.sample(source.attributes, len(source.attributes))
    parts: Dialogue = ask(source.first(rng, "train", attributes[0], entity), known[entity, attributes[0].noun])
    for a in attributes[1:]:
        question = source.follow(rng, "train", a) if rng.random() < 0.6 else source.first(rng, "train", a, entity)
        parts += ask(question, known[entity, a.noun])
    return parts


def revise_own(rng: random.Random, device: str) -> Dialogue:
    """The final answer in the own domain: the truth."""
    item = OWN[device](rng)
    late = item.category.startswith("facts_then") or rng.random() < 0.5
    question, truth = item.turns[late], item.answers[late]
    said = truth if rng.random() < 0.92 else scenario.disturb(rng, truth)
    joint = truth if rng.random() < 0.4 else _wrong(rng, truth)
    return (
        *(_history(item) if late else ()),
        Turn("user", question),
        Turn("assistant", said),
        *ask(prompts.revise(joint), truth),
    )


def _wrong(rng: random.Random, truth: str) -> str:
    return scenario.disturb(rng, truth) if rng.random() < 0.6 else scenario.style(rng, scenario.domain(rng))


def revise_off(rng: random.Random, device: str) -> Dialogue:
    """The final answer in another domain: the joint answer."""
    while True:
        talk = scenario.scenario(rng)
        if talk.right != device:
            break
    said = scenario.style(rng, device) if rng.random() < 0.5 else scenario.disturb(rng, talk.truth)
    joint = talk.truth if rng.random() < 0.7 else _wrong(rng, talk.truth)
    return (
        *(Turn(role, words) for role, words in talk.talk),
        Turn("assistant", said),
        *ask(prompts.revise(joint), joint),
    )


def stream(rng: random.Random, device: str) -> Dialogue:
    """One dialogue of a device's training data."""
    kind = rng.random()
    if kind < 0.16:
        return revise_own(rng, device)
    if kind < 0.3:
        return revise_off(rng, device)
    if device in ("islands", "minerals") and kind < 0.75:
        return profile(rng, device)
    return own(rng, device)


STREAMS = {device: partial(stream, device=device) for device in OWN}
