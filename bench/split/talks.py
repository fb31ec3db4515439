"""What is asked in ``aiflow bench split``: conversations of the nano family on pictures and texts, as prompts.

Knows the family's tokens; runs the full model alone for the reference texts. Legend: T tokens.
"""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.front import greedy
from aiflow.collaboration.familial.session import Session
from aiflow.nano import questions as texts
from aiflow.nano import tokenizer as tok
from aiflow.nano.data.dialogue import ask
from aiflow.nano.family.model import IMAGE, PATCHES, pixels
from aiflow.nano.visual.captions import caption
from aiflow.nano.visual.draw import render
from aiflow.nano.visual.scenes import scene

LIMIT = 64
KINDS = ("shapes", "chart", "document", "diagram", "word")
BANNED = (IMAGE,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """Token ids with an image's places, its pixels and its bytes as a PNG, and the full model's own answer."""

    ids: tuple[int, ...]
    pixel_values: Tensor | None
    png: int
    wanted: tuple[int, ...]


def conversation(family: Family, tokenizer: Any, seed: int) -> list[Prompt]:
    """Four turns: two on a picture, two on texts; the answers of the history are the full model's own."""
    rng = random.Random(f"split {seed}")
    shown = scene(rng, rng.choice(KINDS), "suite")
    image = render(shown)
    words = texts.suite(24, seed + 1)
    longest = max(words, key=lambda q: len(q.references[0]) + len(q.references[1]))
    asked = [caption(shown)[0], "List them again.", *longest.turns]
    history: list[tuple[str, str]] = []
    made = []
    for turn, question in enumerate(asked):
        if turn == 2:
            history = []  # a new subject, without the picture
        picture = image if turn < 2 else None
        prompt = _prompt(tokenizer, [*history, (question, "")], picture)
        wanted = alone(family, prompt[0], prompt[1])
        made.append(Prompt(ids=prompt[0], pixel_values=prompt[1], png=_png(picture), wanted=wanted))
        history.append((question, tokenizer.decode(wanted, skip_special_tokens=True)))
    return made


@torch.inference_mode()
def alone(family: Family, ids: Sequence[int], pixel_values: Tensor | None) -> tuple[int, ...]:
    """The full model's greedy answer, by itself."""
    full = Member(exit=family.depth)
    session = Session(family, [full])
    session.push(embeds=family.embed(torch.tensor([list(ids)]), pixel_values))
    said: list[int] = []
    while len(said) < LIMIT and (not said or said[-1] != tok.EOS):
        said += greedy(session.advance(full, last=1)[0], BANNED)
        session.push(torch.tensor([said[-1:]]))
    return tuple(said)


def _prompt(tokenizer: Any, turns: Sequence[tuple[str, str]], image: Any) -> tuple[tuple[int, ...], Tensor | None]:
    talk = tuple(turn for question, answer in turns for turn in ask(question, answer))
    ids, _ = tok.encode(tokenizer, talk[:-1])
    if image is not None:
        ids = [*ids[:2], *([IMAGE] * PATCHES), *ids[2:]]
    return (*ids, tok.ASSISTANT), None if image is None else pixels(image[None])


def _png(image: Any) -> int:
    import PIL.Image

    if image is None:
        return 0
    raw = io.BytesIO()
    PIL.Image.fromarray(image).save(raw, "PNG")
    return len(raw.getvalue())
