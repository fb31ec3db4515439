"""The visual forms as an examination of a vision language model that reads features, whatever way they took to it.

Questions are drawn and prompts encoded once. Knows neither image codecs nor streams.

Legend: N features of a picture, M of them merged, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiflow.collaboration.tofc.sequence import kept
from aiflow.nano import tokenizer as tok
from aiflow.nano.data.dialogue import ask
from aiflow.nano.family.batches import encode
from aiflow.nano.family.evaluate import LIMIT, Marks
from aiflow.nano.family.model import pixels
from aiflow.nano.visual import suites
from aiflow.nano.visual.questions import FORMS

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a language model gets of a picture: features (M, C), where they stood, and the bytes that brought them."""

    x_MC: Tensor
    places_M: Tensor
    nbytes: int


class Exam:
    """``count`` questions of each form. Raises InputError for a negative number or an unknown form."""

    def __init__(self, tokenizer: Any, count: int, forms: Sequence[str] = FORMS, seed: int = suites.SEED) -> None:
        self.tokenizer = tokenizer
        self.items = [item for form in forms for item in suites.suite(form, count, seed)]  # type: ignore[arg-type]
        self.images = [item.image for item in self.items]
        self.prompts = [self._prompt(item, image) for item, image in zip(self.items, self.images, strict=True)]

    def marks(self, model: Any, seen: Sequence[Seen]) -> Marks:
        """By form, the marks of a model (a `Compressor`'s parts: ``place``, ``parts``) on what it sees of each item."""
        found: Marks = {}
        for item, said in zip(self.items, self.answers(model, seen), strict=True):
            found.setdefault(item.form, []).append(suites.mark(item, said))
        return found

    @torch.inference_mode()
    def answers(self, model: Any, seen: Sequence[Seen]) -> list[str]:
        """Greedy answers, in the order of the items."""
        order = sorted(range(len(self.items)), key=lambda i: (len(seen[i].places_M), len(self.prompts[i])))
        said = [""] * len(order)
        for group in _groups(order, [len(s.places_M) for s in seen]):
            texts = self._batch(model, [self.prompts[i] for i in group], [seen[i] for i in group])
            for i, text in zip(group, texts, strict=True):
                said[i] = text
        return said

    def _batch(self, model: Any, prompts: Sequence[list[int]], seen: Sequence[Seen]) -> list[str]:
        rows = [torch.tensor([prompt]) for prompt in prompts]
        columns = [kept(row, model.adapter.image_token, s.places_M[None])[0] for row, s in zip(rows, seen, strict=True)]
        width = max(len(c) for c in columns)
        ids_BS, place_BS = torch.full((len(rows), width), tok.PAD), torch.zeros(len(rows), width, dtype=torch.long)
        for i, (row, column) in enumerate(zip(rows, columns, strict=True)):
            ids_BS[i, width - len(column) :], place_BS[i, width - len(column) :] = row[0, column], column
        out = model.backbone.generate(
            inputs_embeds=model.place(ids_BS, torch.stack([s.x_MC for s in seen])),
            attention_mask=(ids_BS != tok.PAD).long(),
            position_ids=place_BS,
            max_new_tokens=LIMIT,
            do_sample=False,
            eos_token_id=tok.EOS,
            pad_token_id=tok.PAD,
        )
        return [text.strip() for text in self.tokenizer.batch_decode(out, skip_special_tokens=True)]

    def _prompt(self, item: suites.Item, image: Any) -> list[int]:
        ids, _, _ = encode(self.tokenizer, (image, ask(item.prompt, "")[:1]))
        return [*ids, tok.ASSISTANT]


def _groups(order: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Batches of items with as many features each."""
    groups: list[list[int]] = []
    for i in order:
        if not groups or len(groups[-1]) == BATCH or sizes[groups[-1][0]] != sizes[i]:
            groups.append([])
        groups[-1].append(i)
    return groups


@torch.inference_mode()
def features(model: Any, images: Sequence[Any]) -> list[Tensor]:
    """What the vision tower makes of each picture (64, 64, 3): (N, C)."""
    found: list[Tensor] = []
    for start in range(0, len(images), BATCH):
        found += list(model.adapter.features(pixels(np.stack(images[start : start + BATCH]))))
    return found


def through(coder: Any, x_NC: Tensor, tokens: int, level: int) -> Seen:
    """One picture's features through a `Coder` and back."""
    data = coder.encode([x_NC], tokens, level)
    tile = coder.decode(data).tiles[0]
    return Seen(x_MC=tile.x_MC, places_M=tile.places_M, nbytes=len(data))
