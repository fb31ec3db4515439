"""Information capacity of every member: of the low-rank members, and of the family's on text.

The texts are dialogues of the training data's kind, drawn from a seed that no training uses, as plain text. Capacity
counts the bits of every token, questions too, while training asks mostly for the answers: these are capacities of
models that know little of how questions begin, good for comparing members, not for comparing with other models.
Source: arXiv 2511.08066.
"""

import random
import sys
from collections.abc import Iterator
from math import log2
from pathlib import Path
from typing import Any

from aiflow.bench.familial import read_tokenizer
from aiflow.collaboration.familial import nested
from aiflow.collaboration.familial.capacity import MIXED_TEXT_BIAS, capacity
from aiflow.collaboration.familial.family import Family

LENGTH = 128
"""Tokens of a sample."""
SEED = "information capacity"


def run(family: Path, hpcd: Path, samples: int) -> dict[str, Any]:
    """``capacity``: lists of the low-rank members (``hpcd``) and of the family's (``eesb``), smallest first.

    Members are compared within one list: the tokenizer, and so the cut of the texts, differs between the two.
    Raises WeightsError.
    """
    result: dict[str, Any] = {"length": LENGTH, "samples": samples, "released_bias": MIXED_TEXT_BIAS}
    for name, (tokenizer, members) in {"hpcd": _low_rank(hpcd), "eesb": _family(family)}.items():
        given = texts(tokenizer, samples)
        result[name] = [measured(*member, tokenizer, given) for member in members]
    return {"capacity": result}


def measured(name: str, parameters: int, model: Any, tokenizer: Any, given: list[str]) -> dict[str, Any]:
    """The capacity of one member on the texts ``given``, with no bias and with the released one."""
    found = capacity(model, tokenizer, given, LENGTH)
    print(f"capacity {name}: {found.value:.4f}", file=sys.stderr)
    return {
        "member": name,
        "parameters": parameters,
        "capacity": found.value,
        "with_released_bias": (found.gain_bits + MIXED_TEXT_BIAS) / log2(found.flops),
        "gain_bits": found.gain_bits,
        "flops": found.flops,
        "bits_per_token": found.bits_per_token,
        "text_bits_per_token": found.text_bits_per_token,
        "tokens": found.tokens,
    }


def texts(tokenizer: Any, count: int, length: int = LENGTH) -> list[str]:
    """``count`` texts of at least ``length`` tokens, each of whole dialogues in a row."""
    from aiflow.nano.data import generalist

    rng, found = random.Random(SEED), []
    for _ in range(count):
        text = ""
        while len(tokenizer.encode(text)) < length:
            text = " ".join([*([text] if text else []), *(turn.text for turn in generalist.stream(rng))])
        found.append(text)
    return found


def _low_rank(folder: Path) -> tuple[Any, Iterator[tuple[str, int, Any]]]:
    import torch

    levels = nested.members(folder)
    loaded = ((level.name, level.parameters, nested.load(folder, level.name, torch.float32)) for level in levels)
    return read_tokenizer(folder), loaded


def _family(folder: Path) -> tuple[Any, Iterator[tuple[str, int, Any]]]:
    family = Family.from_pretrained(folder, dtype="float32")
    loaded = ((str(member), count, family.member(member)) for member, count in family.members())
    return read_tokenizer(folder), loaded


def show(result: dict[str, Any]) -> None:
    """Prints the capacity of every member."""
    from aiflow.bench.familial.tables import show_capacity

    show_capacity(result)
