"""The three server skills, with the prompts of `aiflow.prompts`: select devices, merge answers, rank answers.

The server never needs to know a fact: it goes by what the question is about, how the devices describe themselves, and
how many of them agree. The order it learns: the suitable device, the next best, then as listed.
"""

import random
from collections import Counter
from dataclasses import dataclass

from aiflow import prompts
from aiflow.nano.data.dialogue import Dialogue, ask
from aiflow.nano.data.scenario import ABOUTS, ALIASES, CORE, OTHERS, Scenario, disturb, scenario, style

Device = tuple[str, str, str]
"""Domain, name, description."""


@dataclass(frozen=True)
class Mix:
    """Shares: plain device names, first descriptions, groups of the five devices that ship, right answers of the
    suitable device (``fit``), wrong answers in the form of the truth (``alike``); and the group sizes to draw from."""

    plain: float = 0.5
    first: float = 0.4
    core: float = 0.6
    fit: float = 0.75
    alike: float = 0.6
    select: tuple[int, ...] = (2, 3, 4, 5, 5, 5, 6)
    names: tuple[int, ...] = (1, 2, 2, 2, 3, 4)
    merge: tuple[int, ...] = (1, 2, 2, 2, 3, 3, 4, 5, 5)


FORMATS = Mix()
SERVER = Mix(
    plain=0.9,
    first=0.85,
    core=0.95,
    fit=0.92,
    alike=0.35,
    select=(2, 3, 4, 5, 5, 5, 5),
    names=(1, 1, 2, 2, 2, 3),
    merge=(2, 2, 2, 2, 3, 3, 5),
)


def devices(rng: random.Random, talk: Scenario, count: int, *, right: bool, mix: Mix = FORMATS) -> list[Device]:
    """``count`` different devices in random order; the suitable one is among them if ``right``."""
    others = [d for d in (*CORE, *OTHERS) if d != talk.right]
    core = [d for d in CORE if d != talk.right]
    chosen = rng.sample(core if rng.random() < mix.core and count <= len(core) else others, count - right)
    if right:
        chosen.append(talk.right)
    rng.shuffle(chosen)
    aliases, plain = rng.sample(ALIASES, count), rng.random() < mix.plain
    return [
        (d, d if plain else alias, ABOUTS[d][0] if rng.random() < mix.first else rng.choice(ABOUTS[d]))
        for d, alias in zip(chosen, aliases, strict=True)
    ]


def order(talk: Scenario, listed: list[Device]) -> list[Device]:
    """The devices by suitability: right, near, then as listed."""
    return sorted(listed, key=lambda d: 0 if d[0] == talk.right else 1 if d[0] == talk.near else 2)


def select(rng: random.Random, talk: Scenario, mix: Mix = FORMATS) -> Dialogue:
    """Names of the k best devices, best first."""
    listed = devices(rng, talk, rng.choice(mix.select), right=rng.random() < 0.95, mix=mix)
    k = min(rng.choice(mix.names), len(listed))
    prompt = prompts.select(prompts.transcript(talk.talk), [(n, a) for _, n, a in listed], k)
    return ask(prompt, ", ".join(n for _, n, _ in order(talk, listed)[:k]))


def wrong(rng: random.Random, talk: Scenario, domain: str, alike: float) -> str:
    """What an unsuitable device might say: the truth's form disturbed, or its own domain's manner."""
    return disturb(rng, talk.truth) if rng.random() < alike else style(rng, domain)


def _answers(rng: random.Random, talk: Scenario, listed: list[Device], mix: Mix) -> list[str]:
    shared = wrong(rng, talk, rng.choice(listed)[0], mix.alike)
    agree = rng.random() < 0.4
    said = [shared if agree and rng.random() < 0.7 else wrong(rng, talk, d, mix.alike) for d, _, _ in listed]
    own = talk.truth if rng.random() < mix.fit else wrong(rng, talk, talk.right, mix.alike)
    adopt = rng.random() * 0.6 if rng.random() < 0.4 else 0.0
    return [own if d == talk.right or rng.random() < adopt else s for (d, _, _), s in zip(listed, said, strict=True)]


def best(talk: Scenario, listed: list[Device], said: list[str]) -> str:
    """The suitable device's answer (the most frequent of several), else the most frequent answer, else the first."""
    pool = [s for (d, _, _), s in zip(listed, said, strict=True) if d == talk.right] or said
    count = Counter(pool)
    return max(pool, key=lambda s: count[s])


def merge(rng: random.Random, talk: Scenario, mix: Mix = FORMATS) -> Dialogue:
    """One answer out of several devices' answers."""
    listed = devices(rng, talk, rng.choice(mix.merge), right=rng.random() < 0.85, mix=mix)
    said = _answers(rng, talk, listed, mix)
    return ask(_answered(talk, listed, said, prompts.MERGE), best(talk, listed, said))


def merge_samples(rng: random.Random, talk: Scenario, mix: Mix = FORMATS) -> Dialogue:
    """One answer out of several samples of one device: what most of them say."""
    device = devices(rng, talk, 1, right=rng.random() < 0.6, mix=mix)[0]
    count = rng.choice((2, 3, 4, 5))
    other = [disturb(rng, talk.truth) for _ in range(count)]
    said = [talk.truth if rng.random() < 0.65 else rng.choice(other[:2]) for _ in range(count)]
    listed = [device] * count
    return ask(_answered(talk, listed, said, prompts.MERGE), best(talk, listed, said))


def rank(rng: random.Random, talk: Scenario, mix: Mix = FORMATS) -> Dialogue:
    """Names of the devices from the best answer to the worst."""
    listed = devices(rng, talk, rng.choice((2, 3, 4, 5)), right=rng.random() < 0.95, mix=mix)
    prompt = _answered(talk, listed, _answers(rng, talk, listed, mix), prompts.RANK)
    return ask(prompt, ", ".join(n for _, n, _ in order(talk, listed)))


def _answered(talk: Scenario, listed: list[Device], said: list[str], template: str) -> str:
    answers = [(n, a, s) for (_, n, a), s in zip(listed, said, strict=True)]
    return prompts.merge(prompts.transcript(talk.talk), answers, template)


def lesson(rng: random.Random) -> Dialogue:
    """One dialogue of the server's own training data: mostly the choices that the collaboration makes."""
    talk, kind = scenario(rng), rng.random()
    while talk.right not in CORE and rng.random() < 0.8:
        talk = scenario(rng)
    skill = select if kind < 0.15 else merge if kind < 0.9 else merge_samples if kind < 0.95 else rank
    return skill(rng, talk, SERVER)


def stream(rng: random.Random) -> Dialogue:
    """One dialogue of the formats that the base model meets."""
    kind = rng.random()
    skill = select if kind < 0.3 else merge if kind < 0.8 else merge_samples if kind < 0.9 else rank
    return skill(rng, scenario(rng))
