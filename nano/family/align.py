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
EMPHASIS = {"kind": 1.0, "colour": 1.0, "char": 2.0, "size": 0.7, "value": 1.5, "direction": 1.5}
"""How loud each label is in the sum: what is hardest to tell apart, and asked for, most."""
SPREAD = 40.0
"""Distance in the hidden states at which two words are told apart; words differ by some hundreds."""
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
        self.heads = [
            EMPHASIS[head] * torch.stack([zero, *map(self.meaning, names)]) for head, names in words().items()
        ]
        self.emphasis = torch.tensor(list(EMPHASIS.values()))
        self.nothing = self.mean + self.meaning(NOTHING)
        side, half = SIDE // PATCH, SIDE // PATCH // 2
        rows = [
            ("top" if p // side < half else "bottom", "left" if p % side < half else "right") for p in range(PATCHES)
        ]
        self.places = torch.stack([self.meaning(v) + self.meaning(h) for v, h in rows]) / 2

    def meaning(self, text: str) -> Tensor:
        """How the last tokens of the words differ from the mean token, summed."""
        total = torch.zeros_like(self.mean)
        for word in text.split():
            last = self.tokenizer(word, add_special_tokens=False)["input_ids"][-1]
            total += self.sums[last] / self.counts[last].clamp(min=1) - self.mean
        return total

    def __call__(self, labels: Tensor) -> Tensor:
        """(B, P, heads) -> (B, P, D), of about the size of one word."""
        found = torch.zeros(*labels.shape[:2], self.nothing.shape[0])
        for i, table in enumerate(self.heads):
            found += table[labels[..., i].long()]
        return torch.where(
            (labels > 0).any(-1, keepdim=True), self.mean + (found + self.places) * self.scale(labels), self.nothing
        )

    def scale(self, labels: Tensor) -> Tensor:
        """(B, P, 1): makes a sum of words about as long as one word."""
        return 1 / (((labels > 0) * self.emphasis.square()).sum(-1, keepdim=True) + 1).sqrt()


def backward(targets: Targets, model: Any, batch: Labelled) -> float:
    """Accumulates the projector's gradients of the squared error plus a cross entropy per label; returns their sum.

    The squared error alone learns what varies most (colours), and characters last: so each label is also classified,
    by which of its classes' words would come closest.
    """
    own = parts(model)
    with torch.no_grad():
        states = model.model.vision_tower(pixels(batch.images), output_hidden_states=True).hidden_states[-1][:, 1:]
        start = own.text.embed_tokens(torch.tensor([[tok.BOS, tok.USER]] * len(batch.images)))
        wanted = targets(batch.labels)
    h_BTD = torch.cat([start, model.model.multi_modal_projector(states)], 1)
    made = run(own, own.text.layers[:1], h_BTD)[:, 2:]
    shown = (batch.labels > 0).any(-1)
    errors = (made - wanted).square().mean(-1) * torch.where(shown, 1.0, 0.1)
    loss = errors.mean() / wanted.var()
    scale = targets.scale(batch.labels)
    for i, table in enumerate(targets.heads):
        there = batch.labels[..., i] > 0
        if not bool(there.any()):
            continue
        # Distances to all classes differ by what is linear in the class's own vector.
        label, part = batch.labels[..., i][there].long(), scale[there]
        rest = made[there] - wanted[there] + table[label] * part
        words_CD = table[1:]
        logits = (rest @ words_CD.T * part - 0.5 * words_CD.square().sum(-1) * part**2) / SPREAD**2
        loss = loss + 0.1 * nn.functional.cross_entropy(logits, label - 1)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def projector_only(model: Any) -> nn.Module:
    """Freezes all but the projector, and returns it."""
    model.requires_grad_(False)
    projector: nn.Module = model.model.multi_modal_projector.requires_grad_(True)
    return projector
