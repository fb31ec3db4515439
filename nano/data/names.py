"""Words and invented names. The private encyclopaedias own their entity names: no other stream draws them."""

import random
import re
from functools import cache


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


PEOPLE = _split(
    "Ana Ben Cara Dan Eva Finn Gina Hugo Ida Jon Kira Leo Mona Nils Olga Paul Rita Sam Tara Umar Vera Will Yara Zeno"
)
PEOPLE_SUITE = _split("Abel Bella Carlo Dora Emil Flora Gus Hanna")
OBJECTS = _split(
    "pens books apples stamps coins cards shells marbles plates cups balls keys tickets eggs nuts flowers "
    "stones bricks toys ribbons"
)
OBJECTS_SUITE = _split("stickers pears candles buttons")
BOXES = _split("boxes bags baskets shelves rows crates")
COLOURS = _split("red blue green white black yellow purple orange grey pink brown golden")
ANIMALS = _split("otter heron seal fox crab goat owl tortoise lynx pelican badger falcon")
GOODS = _split(
    "salt copper silk wool honey timber tea pepper wine rope cheese pearls amber wax linen rice cork olives "
    "tar saffron leather ink figs barley"
)
USES = _split(
    "glass paint lenses medicine jewels fuel dyes tiles batteries magnets soap cement lamps mirrors springs "
    "bells blades fertiliser ceramics wires bullets pigments polish ropes"
)
SHAPES = _split("cubes needles plates prisms spheres fans rods stars leaves grains columns pyramids")
PLAIN = _split(
    "bird river stone window garden paper music table winter forest cloud train bridge candle dragon engine "
    "flower guitar hammer island jacket kettle lemon mountain nail ocean pencil queen rocket silver tiger "
    "umbrella valley whale yard zebra apple butter castle desert"
)
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
WORDS = sorted({*GOODS, *USES, *PLAIN, *ANIMALS})

_STARTS = _split(
    "Grim Bel Cor Dun Er Fal Gor Hal Is Jun Kel Lor Mer Nar Or Pel Quen Ros Sel Tor Ul Var Wen Yor Zan Brand "
    "Cas Drum Fen Gal Har Kas Lun Mos Nim Pan Ril Sar Tam Vel"
)
_ENDS = _split(
    "venor dia mark viska ran vik hola mire mund dale gath neth ria stel wick bar cora den fell hold jor kan "
    "hith moor nia garth rim hova"
)
ENTITY_SEED = 2026
TWO_PARTS = re.compile(rf"\b({'|'.join(_STARTS)})({'|'.join(_ENDS)})\b")
"""Any invented name, in its two parts (each becomes one token)."""


@cache
def _private() -> tuple[str, ...]:
    every = [a + b for a in _STARTS for b in _ENDS]
    random.Random(ENTITY_SEED).shuffle(every)
    return tuple(every)


def private_names(part: int, count: int) -> tuple[str, ...]:
    """The entity names that encyclopaedia ``part`` (0 or 1) owns."""
    if not 0 < count <= 64:
        raise ValueError(f"an encyclopaedia holds 1 to 64 entities, not {count}")
    return _private()[part * 64 : part * 64 + count]


def free_name(rng: random.Random) -> str:
    """An invented name that no encyclopaedia owns."""
    return rng.choice(_private()[128:])
