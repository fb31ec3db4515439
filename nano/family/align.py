"""Teaches the projector the text model's words: what a patch shows becomes the sum of the words that name it.

The text model can read from its first step on, because image features look to it like words ("big", "red", "circle",
"top", "left") at the places of the patches. It takes the place of LLaVA's first stage.
Legend: B images, P patches, D text model size.
"""

import random
from typing import Any

import torch
from torch import Tensor, nn

from aiflow.collaboration.familial.kinds import parts
from aiflow.collaboration.familial.running import run
from aiflow.nano import tokenizer as tok
from aiflow.nano.family.model import PATCH, PATCHES, SIDE, pixels
from aiflow.nano.family.tower import Labelled
from aiflow.nano.visual.draw import DIRECTIONS, HEADS, KINDS, SIZES
from aiflow.nano.visual.scenes import CHARACTERS, COLOURS
from aiflow.nano.visual.stream import lesson

COMPASS = {"n": "top", "s": "bottom", "e": "right", "w": "left"}
RENAMED = {"char": "", "text": "", "arrow": "to"}
NOTHING = "."
PLACES = ("top", "bottom", "left", "right")


def words() -> dict[str, list[str]]:
    """By label head, the words of its classes from 1 on."""
    names = {
        "kind": KINDS,
        "colour": COLOURS,
        "char": CHARACTERS,
        "size": SIZES,
        "value": [str(n) for n in range(1, HEADS["value"])],
        "direction": [" ".join(COMPASS[c] for c in d) for d in DIRECTIONS],
    }
    return {head: [RENAMED.get(name, name) for name in names[head]] for head in HEADS}


class Targets:
    """Labels -> the hidden states that the text model has after its first block for the words that name them.

    Behind the first block and not before it, because that block is what turns words into features: it adds vectors a
    hundred times longer than the embeddings, and makes of a sum of embeddings something that is not a sum.
    """

    def __init__(self, model: Any, tokenizer: Any, seed: int, texts: int = 600) -> None:
        rng = random.Random(f"{seed} words")
        own, vocabulary = parts(model), len(tokenizer)
        self.sums, self.counts = torch.zeros(vocabulary, own.config.hidden_size), torch.zeros(vocabulary)
        known = [text for names in words().values() for text in names if text] + list(PLACES) + [NOTHING]
        for _ in range(texts):
            said = lesson(rng)[1]
            text = " ".join([*(turn.text for turn in said), *rng.sample(known, 12)])
            ids = torch.tensor([[tok.BOS, tok.USER, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
            with torch.no_grad():
                h_TD = run(own, own.text.layers[:1], own.text.embed_tokens(ids))[0]
            self.sums.index_add_(0, ids[0, 2:], h_TD[2:])
            self.counts.index_add_(0, ids[0, 2:], torch.ones(ids.shape[1] - 2))
        self.mean = self.sums.sum(0) / self.counts.sum()
        self.tokenizer = tokenizer
        zero = torch.zeros_like(self.mean)
        self.heads = [torch.stack([zero, *map(self.meaning, names)]) for names in words().values()]
        self.nothing = self.mean + self.meaning(NOTHING)
        side, half = SIDE // PATCH, SIDE // PATCH // 2
        rows = [
            ("top" if p // side < half else "bottom", "left" if p % side < half else "right") for p in range(PATCHES)
        ]
        self.places = torch.stack([self.meaning(v) + self.meaning(h) for v, h in rows]) / 2

    def meaning(self, text: str) -> Tensor:
        """How a word's last token differs from the mean token."""
        if not text:
            return torch.zeros_like(self.mean)
        last = self.tokenizer(text, add_special_tokens=False)["input_ids"][-1]
        return self.sums[last] / self.counts[last].clamp(min=1) - self.mean

    def __call__(self, labels: Tensor) -> Tensor:
        """(B, P, heads) -> (B, P, D), of about the size of one word."""
        found = torch.zeros(*labels.shape[:2], self.nothing.shape[0])
        for i, table in enumerate(self.heads):
            found += table[labels[..., i].long()]
        shown = (labels > 0).sum(-1, keepdim=True)
        return torch.where(shown > 0, self.mean + (found + self.places) / (shown + 1).sqrt(), self.nothing)


def backward(targets: Targets, model: Any, batch: Labelled) -> float:
    """Accumulates the projector's gradients of the squared error, a share of the targets' variance; returns it."""
    own = parts(model)
    with torch.no_grad():
        states = model.model.vision_tower(pixels(batch.images), output_hidden_states=True).hidden_states[-1][:, 1:]
        start = own.text.embed_tokens(torch.tensor([[tok.BOS, tok.USER]] * len(batch.images)))
        wanted = targets(batch.labels)
    h_BTD = torch.cat([start, model.model.multi_modal_projector(states)], 1)
    made = run(own, own.text.layers[:1], h_BTD)[:, 2:]
    weight = torch.where((batch.labels > 0).any(-1), 1.0, 0.1)
    loss = ((made - wanted).square().mean(-1) * weight).sum() / weight.sum() / wanted.var()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def projector_only(model: Any) -> nn.Module:
    """Freezes all but the projector, and returns it."""
    model.requires_grad_(False)
    projector: nn.Module = model.model.multi_modal_projector.requires_grad_(True)
    return projector
