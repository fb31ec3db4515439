"""The stages of `aiflow train family`: tower, model, family, and hpcd; and of `aiflow train drafter` and `tofc`.

Each runs in a process of its own.

``python -m aiflow.nano.family.stages '{"stage": "tower", "out": ..., "work": ...}'`` trains one stage, prints one JSON
line of progress per checkpoint, and leaves the weights and ``training.json`` in its folder.
"""

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from aiflow.fitting import Recipe
from aiflow.nano import tokenizer as tok
from aiflow.nano.family import compression
from aiflow.nano.stages import scaled, tell, versions

RECIPES = {
    "tower": Recipe(steps=1600, lr=2e-3, muon_lr=3e-3, warmup=50, decay=0.5, every=50),
    "align": Recipe(steps=500, lr=3e-3, warmup=20, decay=0.9, every=100),
    "hpcd": Recipe(steps=1500, lr=2e-3, muon_lr=2.5e-3, warmup=30, decay=0.6, batch_tokens=2048, every=50),
    "family": Recipe(steps=3000, lr=1e-3, muon_lr=1e-3, warmup=20, decay=0.9, batch_tokens=2048, every=50),
    "branches": Recipe(steps=700, lr=1e-3, muon_lr=1e-3, warmup=20, decay=0.9, batch_tokens=2048, every=50),
    "family/drafter": Recipe(steps=5000, lr=2e-3, muon_lr=2e-3, warmup=30, decay=0.8, batch_tokens=2048, every=50),
    "family/tofc": Recipe(steps=4000, lr=1e-3, muon_lr=1e-3, warmup=30, decay=0.9, batch_tokens=3072, every=50),
    "model": Recipe(steps=7000, lr=1e-3, muon_lr=1e-3, warmup=50, decay=0.0, batch_tokens=2048, every=50),
}
IMAGES = 64
"""Images per step of the tower."""
CALIBRATION = 12
"""Batches that the whitening sees."""
EXITS, DEEP, WHOLE, PART = (1, 2, 3, 4, 6), 2, 0.37, 0.18
"""Exits with a branch, the blocks of a branch, the share that it keeps of each block, and its trained part."""
DEVICE, DEVICE_WEIGHT, KL = 2, 2.0, 1.0
"""The exit that learns in every step, because its branch is what devices run; its weight in the loss, beside 1 for
the others; and how much the full model teaches."""
CURRICULUM = (("captions", 0), ("questions", 500), ("many", 2800))
"""From which step on the model sees which pictures' dialogues (`visual.stream`): captions say the most about a picture,
token by token; then questions as the suites ask them; then many, mostly without options."""
TAUGHT = 4
"""Members of a step."""
TALK, ANCHORS, WIDTH, THIN = 0.6, 12, 8, 2
"""Of the drafter: share of dialogues without a picture, drafts that begin in each row, tokens of a draft, blocks."""
COMPONENTS, SHARE = 4, 0.2
"""Low-rank members, and the share of each linear's parameters that one component keeps."""


def run(
    stage: str, out: Path, work: Path, *, seed: int, scale: float = 1.0, resume: bool = True, threads: int = 1
) -> dict[str, Any]:
    """Trains one stage into ``out / stage`` and returns what was measured; checkpoints live in ``work``."""
    import torch

    torch.set_num_threads(threads)
    recipe = scaled(RECIPES[stage], scale)
    report = {"stage": stage, "seed": seed, **STAGES[stage](out, work / f"{stage}.pt", recipe, seed, resume)}
    report |= {"threads": threads, "learning_rate": recipe.muon_lr or recipe.lr, "versions": versions()}
    (out / stage / "training.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def tower(out: Path, checkpoint: Path, recipe: Recipe, seed: int, resume: bool) -> dict[str, Any]:
    """The vision tower, from labelled patches."""
    from aiflow.fitting import fit
    from aiflow.nano.family.model import build_tower
    from aiflow.nano.family.tower import Seeing, accuracy, backward, batches
    from aiflow.nano.visual.draw import HEADS

    model = Seeing(build_tower(seed), HEADS)
    data = partial(batches, seed, IMAGES)
    state = fit(model, data, recipe, backward, stage="tower", checkpoint=checkpoint, resume=resume, progress=tell)
    found = accuracy(model, next(batches(seed + 1, 512, 0)))
    model.tower.save_pretrained(out / "tower")
    return {**state, "accuracy": dict(zip(HEADS, found, strict=True))}


def model(out: Path, checkpoint: Path, recipe: Recipe, seed: int, resume: bool) -> dict[str, Any]:
    """The whole vision language model: the generalist, two blocks deeper, on the trained tower; everything learns."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel

    from aiflow.collaboration.familial.expand import expand
    from aiflow.collaboration.familial.family import Family, Member
    from aiflow.collaboration.familial.training import accumulate
    from aiflow.fitting import fit
    from aiflow.nano.family.batches import endless, mixed
    from aiflow.nano.family.model import EXPANDED, build, processor
    from aiflow.nano.family.words import extend, grow
    from aiflow.nano.model import use_fast_attention
    from aiflow.nano.visual import stream

    old = AutoTokenizer.from_pretrained(out / "generalist")
    tokenizer = extend(old)
    text = AutoModelForCausalLM.from_pretrained(out / "generalist", dtype="float32")
    grow(text, old, tokenizer, seed)
    tower = CLIPVisionModel.from_pretrained(out / "tower", dtype="float32")
    family = Family(build(expand(text, EXPANDED), tower, seed))
    share = recipe.steps / RECIPES["model"].steps
    said = _align(family.backbone, tokenizer, checkpoint.with_name("align.pt"), scaled(RECIPES["align"], share), seed)
    use_fast_attention(family.parts.text)
    full = Member(exit=family.depth)

    def backward(family: Family, batch: Any) -> float:
        return accumulate(family, batch, [full], autocast=True)[full]

    shown = {"captions": stream.described, "questions": stream.lesson, "many": stream.many}

    def data(start: int) -> Iterator[Any]:
        begins = [round(step * share) for _, step in CURRICULUM]
        for (kind, _), begin, end in zip(CURRICULUM, begins, [*begins[1:], None], strict=True):
            if end is not None and start >= end:
                continue
            skip = max(0, start - begin)
            talks = partial(mixed, shown=shown[kind])
            made = endless(tokenizer, f"{seed} {kind}", recipe.batch_tokens, skip, sample=talks)
            yield from made if end is None else islice(made, end - begin - skip)

    state = fit(family, data, recipe, backward, stage="model", checkpoint=checkpoint, resume=resume, progress=tell)
    family.backbone.save_pretrained(out / "model")
    processor(tokenizer).save_pretrained(out / "model")
    return {**state, "parameters": family.count(full), "align": said}


def _align(model: Any, tokenizer: Any, checkpoint: Path, recipe: Recipe, seed: int) -> dict[str, float]:
    """The projector, from labelled patches and the words that name them."""
    from aiflow.fitting import fit
    from aiflow.nano.family.align import Targets, backward, projector_only
    from aiflow.nano.family.model import settle
    from aiflow.nano.family.tower import batches

    settle(model, next(batches(seed, 8 * IMAGES, 0)).images)
    projector_only(model)
    step, data = partial(backward, Targets(model, tokenizer, seed)), partial(batches, seed, IMAGES // 2)
    state = fit(model, data, recipe, step, stage="align", checkpoint=checkpoint, progress=tell)
    model.requires_grad_(True)
    return state


def hpcd(out: Path, checkpoint: Path, recipe: Recipe, seed: int, resume: bool) -> dict[str, Any]:
    """Four low-rank members of the generalist, one component after the other; the generalist is also the teacher."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from aiflow.collaboration.familial.branching import Calibration
    from aiflow.collaboration.familial.family import Family
    from aiflow.collaboration.familial.hpcd import train
    from aiflow.nano.data import generalist
    from aiflow.nano.family.batches import Sample, endless
    from aiflow.nano.model import use_fast_attention

    tokenizer = AutoTokenizer.from_pretrained(out / "generalist")
    teacher = AutoModelForCausalLM.from_pretrained(out / "generalist", dtype="float32")
    use_fast_attention(teacher)

    def talk(rng: random.Random) -> Sample:
        return None, generalist.stream(rng)

    data = partial(endless, tokenizer, f"{seed} hpcd", recipe.batch_tokens, sample=talk)
    first = endless(tokenizer, f"{seed} calibration", recipe.batch_tokens, 0, sample=talk)
    guide = Family(teacher)
    calibration = [Calibration.of_ids(guide, b.ids_BT, b.ids_BT != tok.PAD) for b in islice(first, CALIBRATION)]
    made = train(
        teacher,
        calibration,
        data,
        [recipe, *[replace(recipe, steps=max(1, recipe.steps * 8 // 15), decay=0.7)] * (COMPONENTS - 1)],
        count=COMPONENTS,
        keep=SHARE,
        folder=checkpoint.parent / "hpcd",
        norms=True,
        autocast=True,
        resume=resume,
        progress=tell,
    )
    levels = made.save(out / "hpcd", storage="int8")
    tokenizer.save_pretrained(out / "hpcd")
    return {**made.spent, "members": [level.parameters for level in levels]}


def family(out: Path, checkpoint: Path, recipe: Recipe, seed: int, resume: bool) -> dict[str, Any]:
    """The family: branches at five exits, started from the next blocks, trained with the whole model and then alone."""
    from transformers import AutoTokenizer, LlavaForConditionalGeneration

    from aiflow.collaboration.familial.branching import Calibration, initialise
    from aiflow.collaboration.familial.family import Family, Member
    from aiflow.collaboration.familial.losses import Distillation
    from aiflow.collaboration.familial.training import accumulate, prepare
    from aiflow.fitting import fit
    from aiflow.nano.family.batches import endless
    from aiflow.nano.family.model import processor
    from aiflow.nano.model import use_fast_attention

    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    made = Family(LlavaForConditionalGeneration.from_pretrained(out / "model", dtype="float32"))
    use_fast_attention(made.parts.text)
    first = islice(endless(tokenizer, f"{seed} calibration", recipe.batch_tokens, 0), CALIBRATION)
    started = initialise(
        made,
        dict.fromkeys(EXITS, WHOLE),
        [Calibration.of_ids(made, b.ids_BT, b.ids_BT != tok.PAD, b.pixel_values) for b in first],
        blocks=DEEP,
    )
    prepare(made, "full", vision=True)
    full, device = Member(exit=made.depth), Member(exit=DEVICE)
    wholes, parts = [Member(exit=e) for e in EXITS], [Member(exit=e, keep=PART) for e in EXITS]
    others = [m for m in wholes + parts if m != device]
    step = 0

    def backward(always: list[Member], turns: list[Member], family: Family, batch: Any) -> float:
        nonlocal step
        count = TAUGHT - len(always)
        chosen = [*always, *(turns[(count * step + i) % len(turns)] for i in range(count))]
        step += 1
        losses = accumulate(
            family, batch, chosen, weights={device: DEVICE_WEIGHT}, distillation=Distillation(kl=KL), autocast=True
        )
        return sum(losses.values()) / len(losses)

    def data(name: str, start: int) -> Any:
        nonlocal step
        step = start
        return endless(tokenizer, f"{seed} {name}", recipe.batch_tokens, start)

    together = partial(backward, [full, device], others)
    state = fit(
        made,
        partial(data, "family"),
        recipe,
        together,
        stage="family",
        checkpoint=checkpoint,
        resume=resume,
        progress=tell,
    )
    prepare(made, "frozen")
    made.branches[str(DEVICE)].requires_grad_(False)  # it learned in every step
    last = scaled(RECIPES["branches"], recipe.steps / RECIPES["family"].steps)
    file, alone = checkpoint.with_name("branches.pt"), partial(backward, [], [m for m in others if m.exit != DEVICE])
    more = fit(
        made, partial(data, "branches"), last, alone, stage="branches", checkpoint=file, resume=resume, progress=tell
    )
    state = {key: state[key] + more[key] for key in state}
    folder = out / "family"
    made.save_pretrained(folder, storage="int8")
    made.backbone.generation_config.save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)
    lost = {e: sum(row["loss"].values()) / len(row["loss"]) for e, row in started.items()}
    members = {str(m): made.count(m) for m in [*wholes, *parts, full]}
    return {**state, "parameters": members, "relative_loss_at_start": lost}


def drafter(out: Path, checkpoint: Path, recipe: Recipe, seed: int, resume: bool) -> dict[str, Any]:
    """The drafter of the family in ``out``, whose full model is the teacher."""
    import torch
    from transformers import AutoTokenizer

    from aiflow.collaboration.familial.drafter import FOLDER, Drafter, loss
    from aiflow.collaboration.familial.family import Family
    from aiflow.fitting import fit
    from aiflow.nano.data import generalist
    from aiflow.nano.family.batches import Sample, endless
    from aiflow.nano.visual.stream import many

    tokenizer = AutoTokenizer.from_pretrained(out / "family")
    taught = Family.from_pretrained(out / "family", dtype="float32").requires_grad_(False)
    torch.manual_seed(seed)
    made = Drafter(taught.parts.config, width=WIDTH, blocks=THIN)

    def talk(rng: random.Random) -> Sample:
        return (None, generalist.stream(rng)) if rng.random() < TALK else many(rng)

    def backward(made: Drafter, batch: Any) -> float:
        found = loss(made, taught, batch, ANCHORS, autocast=True)
        found.backward()  # type: ignore[no-untyped-call]
        return found.item()

    data = partial(endless, tokenizer, f"{seed} drafter", recipe.batch_tokens, sample=talk)
    state = fit(
        made, data, recipe, backward, stage="family/drafter", checkpoint=checkpoint, resume=resume, progress=tell
    )
    made.save_pretrained(out / "family" / FOLDER, storage="int8")
    return {**state, "parameters": sum(p.numel() for p in made.parameters())}


STAGES = {
    "tower": tower,
    "model": model,
    "family": family,
    "hpcd": hpcd,
    "family/drafter": drafter,
    "family/tofc": compression.tofc,
}


if __name__ == "__main__":
    _options = json.loads(sys.argv[1])
    run(_options.pop("stage"), Path(_options.pop("out")), Path(_options.pop("work")), **_options)
