"""Encyclopaedia topics: what can be asked about an entity, in which words. Facts are not here.

``islands`` and ``minerals`` are the topics of the two private encyclopaedias (`encyclopaedia.py` holds their facts);
the others exist so that the base model and the server meet the same forms with random entities.
"""

import random
from dataclasses import dataclass

from aiflow.nano.data import names
from aiflow.nano.data.dialogue import Split, phrase

FOLLOW = ("And the {f}?", "What about the {f}?", "And what is the {f}?", "Now give me the {f}.", "Next, the {f}?")


@dataclass(frozen=True)
class Attribute:
    """One attribute: its noun phrase, kind of value ("name", "number", "list" or "word"), value pool and wordings."""

    noun: str
    kind: str
    pool: tuple[str, ...]
    wordings: tuple[str, ...]
    fact: str

    def value(self, rng: random.Random) -> str:
        """A random value of this attribute."""
        if self.kind == "number":
            return str(rng.randint(2, 40))
        if self.kind == "name":
            return names.free_name(rng)
        if self.kind == "list":
            return ", ".join(rng.sample(self.pool, 3))
        return rng.choice(self.pool)


@dataclass(frozen=True)
class Topic:
    """A domain of knowledge: descriptions a device may give of itself, and attributes."""

    name: str
    abouts: tuple[str, ...]
    attributes: tuple[Attribute, ...]

    def first(self, rng: random.Random, split: Split, attribute: Attribute, entity: str) -> str:
        """A full question about one attribute."""
        return phrase(rng, split, attribute.wordings).format(x=entity)

    def follow(self, rng: random.Random, split: Split, attribute: Attribute) -> str:
        """An elliptical question after another one about the same entity."""
        return phrase(rng, split, [w.format(f=attribute.noun) for w in FOLLOW])


def _a(noun: str, kind: str, fact: str, *wordings: str, pool: tuple[str, ...] = ()) -> Attribute:
    return Attribute(noun, kind, pool, wordings, fact)


ISLANDS = Topic(
    "islands",
    ("islands of the Merun sea", "facts about sea islands", "an encyclopaedia of islands", "island geography"),
    (
        _a(
            "capital",
            "name",
            "The capital of {x} is {v}.",
            "What is the capital of {x}?",
            "Which town is the capital of {x}?",
            "Name the capital of {x}.",
            "What is {x}'s capital?",
        ),
        _a(
            "language",
            "name",
            "People on {x} speak {v}.",
            "What language is spoken on {x}?",
            "Which language do people on {x} speak?",
            "Name the language of {x}.",
            "What is {x}'s language?",
        ),
        _a(
            "number of lighthouses",
            "number",
            "{x} has {v} lighthouses.",
            "How many lighthouses are on {x}?",
            "How many lighthouses does {x} have?",
            "What is the number of lighthouses on {x}?",
            "Give the number of lighthouses on {x}.",
        ),
        _a(
            "exports",
            "list",
            "{x} exports {v}.",
            "What does {x} export?",
            "What are the exports of {x}?",
            "Which goods does {x} export?",
            "List the exports of {x}.",
            pool=names.GOODS,
        ),
        _a(
            "flag colour",
            "word",
            "The flag of {x} is {v}.",
            "What colour is the flag of {x}?",
            "Which colour has the flag of {x}?",
            "Name the flag colour of {x}.",
            "What is {x}'s flag colour?",
            pool=names.COLOURS,
        ),
        _a(
            "national animal",
            "word",
            "The national animal of {x} is the {v}.",
            "What is the national animal of {x}?",
            "Which animal stands for {x}?",
            "Name the national animal of {x}.",
            "What is {x}'s national animal?",
            pool=names.ANIMALS,
        ),
    ),
)

MINERALS = Topic(
    "minerals",
    ("minerals and their uses", "facts about minerals", "an encyclopaedia of crystals", "rocks and minerals"),
    (
        _a(
            "crystal colour",
            "word",
            "Crystals of {x} are {v}.",
            "What colour are crystals of {x}?",
            "Which crystal colour has {x}?",
            "Name the crystal colour of {x}.",
            "What is {x}'s crystal colour?",
            pool=names.COLOURS,
        ),
        _a(
            "number of mines",
            "number",
            "{x} is dug in {v} mines.",
            "How many mines dig {x}?",
            "In how many mines is {x} dug?",
            "What is the number of mines for {x}?",
            "Give the number of mines for {x}.",
        ),
        _a(
            "discoverer",
            "name",
            "{x} was discovered by {v}.",
            "Who discovered {x}?",
            "By whom was {x} discovered?",
            "Name the discoverer of {x}.",
            "Who was {x}'s discoverer?",
        ),
        _a(
            "finding place",
            "name",
            "{x} was first found at {v}.",
            "Where was {x} first found?",
            "What is the finding place of {x}?",
            "Name the finding place of {x}.",
            "At which place was {x} found?",
        ),
        _a(
            "uses",
            "list",
            "{x} is used for {v}.",
            "What is {x} used for?",
            "What are the uses of {x}?",
            "For which products is {x} used?",
            "List the uses of {x}.",
            pool=names.USES,
        ),
        _a(
            "crystal shape",
            "word",
            "{x} grows as {v}.",
            "What shape are crystals of {x}?",
            "Which crystal shape has {x}?",
            "Name the crystal shape of {x}.",
            "What is {x}'s crystal shape?",
            pool=names.SHAPES,
        ),
    ),
)

SHIPS = Topic(
    "ships",
    ("ships and sailors", "facts about ships", "the northern fleet", "a list of vessels"),
    (
        _a(
            "captain",
            "name",
            "The captain of {x} is {v}.",
            "Who is the captain of {x}?",
            "Name the captain of {x}.",
            "Who commands {x}?",
        ),
        _a(
            "number of sails",
            "number",
            "{x} carries {v} sails.",
            "How many sails does {x} carry?",
            "What is the number of sails of {x}?",
        ),
        _a(
            "cargo",
            "list",
            "The cargo of {x} is {v}.",
            "What is the cargo of {x}?",
            "What does {x} carry as cargo?",
            pool=names.GOODS,
        ),
        _a(
            "hull colour",
            "word",
            "The hull of {x} is {v}.",
            "What colour is the hull of {x}?",
            "Name the hull colour of {x}.",
            pool=names.COLOURS,
        ),
    ),
)

CASTLES = Topic(
    "castles",
    ("castles and their lords", "facts about castles", "old forts", "castle history"),
    (
        _a(
            "lord",
            "name",
            "The lord of {x} is {v}.",
            "Who is the lord of {x}?",
            "Name the lord of {x}.",
            "Who rules {x}?",
        ),
        _a(
            "number of towers",
            "number",
            "{x} has {v} towers.",
            "How many towers has {x}?",
            "What is the number of towers of {x}?",
        ),
        _a(
            "treasures",
            "list",
            "The treasures of {x} are {v}.",
            "What are the treasures of {x}?",
            "List the treasures of {x}.",
            pool=names.USES,
        ),
        _a(
            "gate colour",
            "word",
            "The gate of {x} is {v}.",
            "What colour is the gate of {x}?",
            "Name the gate colour of {x}.",
            pool=names.COLOURS,
        ),
    ),
)

PLANTS = Topic(
    "plants",
    ("plants and flowers", "facts about herbs", "garden plants", "botany"),
    (
        _a("gardener", "name", "The gardener of {x} is {v}.", "Who first grew {x}?", "Name the gardener of {x}."),
        _a(
            "number of petals",
            "number",
            "{x} has {v} petals.",
            "How many petals has a {x}?",
            "What is the number of petals of {x}?",
        ),
        _a(
            "leaf colour",
            "word",
            "Leaves of {x} are {v}.",
            "What colour are leaves of {x}?",
            "Name the leaf colour of {x}.",
            pool=names.COLOURS,
        ),
        _a(
            "visitor",
            "word",
            "{x} is visited by the {v}.",
            "Which animal visits {x}?",
            "What animal eats {x}?",
            pool=names.ANIMALS,
        ),
    ),
)

STARS = Topic(
    "stars",
    ("stars and planets", "astronomy", "facts about the night sky", "distant planets"),
    (
        _a(
            "astronomer",
            "name",
            "The astronomer of {x} is {v}.",
            "Which astronomer saw {x}?",
            "Name the astronomer of {x}.",
        ),
        _a(
            "number of moons",
            "number",
            "{x} has {v} moons.",
            "How many moons has {x}?",
            "What is the number of moons of {x}?",
        ),
        _a(
            "light",
            "word",
            "The light of {x} is {v}.",
            "What colour is the light of {x}?",
            "Name the light of {x}.",
            pool=names.COLOURS,
        ),
    ),
)

TOPICS = {t.name: t for t in (ISLANDS, MINERALS, SHIPS, CASTLES, PLANTS, STARS)}
