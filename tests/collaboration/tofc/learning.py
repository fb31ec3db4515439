"""Compressors that train on tiny models of every kind, for the tests of this folder."""

import torch

from aiflow.bench.tofc import tiny
from aiflow.collaboration.tofc.adapters import adapter
from aiflow.collaboration.tofc.batches import Batch, Row
from aiflow.collaboration.tofc.codec import CodecConfig
from aiflow.collaboration.tofc.model import Compressor
from aiflow.collaboration.tofc.training import Objective, fit_codec
from aiflow.fitting import Recipe

from .seeing import prompt_ids, shown

ALL = 10**6
SIZES = ((61, 83), (200, 50), (150, 161))
ANSWERS = ((11, 13, 17, 2), (19, 23, 2), (29, 31, 37, 41, 43, 2))


def compressor(kind, **changes):
    """A fresh one with a basis from the features of some pictures."""
    backbone = tiny.model(kind)
    torch.manual_seed(1)
    sizes = {"channels": adapter(backbone).channels, "basis": 8, "hidden": 12, "hyper": 4, "levels": 2}
    made = Compressor(backbone, CodecConfig(**(sizes | {"models": 3, "tokens": (3, 6)} | changes)))
    with torch.no_grad():
        x_NC = torch.cat([x for size in SIZES for x in made.adapter.tiles(shown(kind, *size))])
        made.codec.start(torch.cat([x_NC, x_NC + 0.1 * torch.randn_like(x_NC)]), (1.0, 0.5)[: made.codec.config.levels])
    return made


def batch(kind, sizes=SIZES):
    """A row for each size: question and answer, of which the answer counts."""
    rows = []
    for size, answer in zip(sizes, ANSWERS, strict=True):
        ids = [*prompt_ids(), *answer]
        weights = [*[0.0] * len(prompt_ids()), *[1.0] * len(answer)]
        rows.append(Row(ids=ids, weights=weights, inputs=shown(kind, *size)))
    return Batch(rows=tuple(rows))


def fitted(made, folder, steps=40, lr=3e-3, rate=4e-3, **options):
    """The compressor after some steps on one batch."""
    given = batch(made.backbone.config.model_type)
    recipe = Recipe(steps=steps, lr=lr, warmup=3, every=10)
    state = fit_codec(
        made,
        lambda _start: iter([given] * steps),
        recipe,
        Objective(rates=(rate,) * made.codec.config.levels),
        checkpoint=folder / "tofc.pt",
        **options,
    )
    assert state["step"] <= steps
    return made
