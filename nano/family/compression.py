"""The stage of `aiflow train tofc`: a feature codec for the family's full model, trained on pictures with dialogues."""

import random
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from aiflow.fitting import Recipe
from aiflow.nano.stages import tell

TOKENS = (8, 16, 32, 64)
SIZES = {"channels": 128, "basis": 48, "hidden": 64, "hyper": 8, "models": 4, "levels": 4}
STEPS = (1.0, 0.7, 0.5, 0.35)
"""Of the levels at first, in standard deviations along the basis."""
RATES = (6e-4, 2e-4, 6e-5, 2e-5)
"""Loss of one bit at each level; a wrong answer in a hundred costs about 0.006."""
VISION_RANK, TEXT_RANK = 16, 8
SAMPLE, CHAT = 12, 0.5
"""Batches that set the basis; the share of pictures asked as the suites ask."""


def shown(rng: random.Random) -> Any:
    """A picture with many questions on it, or with fewer as the suites put them."""
    from aiflow.nano.visual import stream

    return (stream.lesson if rng.random() < CHAT else stream.many)(rng)


def tofc(out: Path, checkpoint: Path, recipe: Recipe, seed: int, resume: bool) -> dict[str, Any]:
    """The codec of the family in ``out``; its projector and adapters learn with it."""
    import torch
    from transformers import AutoTokenizer

    from aiflow.collaboration.familial.family import Family
    from aiflow.collaboration.tofc.codec import CodecConfig
    from aiflow.collaboration.tofc.files import FOLDER
    from aiflow.collaboration.tofc.model import Compressor
    from aiflow.collaboration.tofc.training import Objective, fit_codec
    from aiflow.nano.family.batches import endless
    from aiflow.nano.model import fuse_lora, use_fast_attention

    tokenizer = AutoTokenizer.from_pretrained(out / "family")
    backbone = Family.from_pretrained(out / "family", dtype="float32").backbone
    use_fast_attention(backbone.model.language_model)
    torch.manual_seed(seed)
    made = Compressor(backbone, CodecConfig(**SIZES, tokens=TOKENS))
    first = islice(endless(tokenizer, f"{seed} basis", recipe.batch_tokens, 0, sample=shown), SAMPLE)
    with torch.no_grad():
        merged = [made.codec.merge(made.adapter.features(b.pixel_values), TOKENS[1])[0].flatten(0, 1) for b in first]
    made.codec.start(torch.cat(merged), STEPS)
    made.prepare(vision_rank=VISION_RANK, text_rank=TEXT_RANK)
    fuse_lora(backbone)
    data = partial(endless, tokenizer, f"{seed} tofc", recipe.batch_tokens, sample=shown)
    state = fit_codec(
        made,
        data,
        recipe,
        Objective(rates=RATES),
        checkpoint=checkpoint,
        stage="family/tofc",
        autocast=True,
        resume=resume,
        progress=tell,
    )
    made.save_pretrained(out / "family" / FOLDER, storage="int8")
    return {**state, "parameters": sum(p.numel() for p in made.parameters() if p.requires_grad)}
