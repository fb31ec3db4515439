"""`aiflow train motion`: the composer, the coordinator and the evaluator that ship, and the baselines of the table.

Knows recipes and which data each may use; the steps themselves are in `learning`, `coordinating`, `evaluator`.

Regime (AI Flow section IV-B1): SOLOS clips of one person, PAIRS recorded meetings, none of a free order of both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from aiflow.diffusion.motion import data, learning, scene, shipping
from aiflow.diffusion.motion.coordinating import coordinator_data, coordinator_step
from aiflow.diffusion.motion.evaluator import MotionEvaluator, parted
from aiflow.diffusion.motion.learning import COMPOSER, JOINT, Corpus, Learner, Weights
from aiflow.diffusion.motion.model import Coordinator, MotionTransformer
from aiflow.diffusion.training import Context, Stage
from aiflow.diffusion.words import WordEncoder, tokens, word_tokenizer
from aiflow.fitting import Recipe

SOLOS, PAIRS = 3000, 300
SEQUENCES = 3000
"""Interleaved sequences that are drawn before a training."""
BATCH = 48
SOLO_FRAMES = 20
EVALUATOR_SCENES = 6000


@dataclass(frozen=True, kw_only=True)
class Material:
    """What may be learned from: tensors of recordings and of sequences made of them."""

    pairs: data.Pack
    solos: data.Pack
    sequences: data.Pack
    mean_C: torch.Tensor
    std_C: torch.Tensor


@lru_cache(maxsize=1)
def material(seed: int, pairs: int = PAIRS) -> Material:
    """The training data of a seed; every seed has its own recordings."""
    solo, pair = data.solos(SOLOS, seed), data.pairs(pairs, seed)
    sequences = data.pack(data.sequences(solo, pair, SEQUENCES, seed))
    mean, std = data.statistics([sequences])
    return Material(
        pairs=data.pack(pair),
        solos=data.pack(data.placed(solo, pair, SOLOS, seed), frames=SOLO_FRAMES),
        sequences=sequences,
        mean_C=mean,
        std_C=std,
    )


def tokenizer() -> Any:
    """Of the captions' language."""
    return word_tokenizer(scene.vocabulary(), data.WORDS)


def _denoiser(
    context: Context,
    *,
    what: str,
    weights: Weights,
    persons: int = 1,
    layers: int = 4,
    control: bool = True,
    pairs: int = PAIRS,
) -> Mapping[str, Any]:
    """A composer or a one-stage generator, trained on ``what``: "sequences" or "recorded", always with the solos."""
    stuff, words = material(context.seed, pairs), tokenizer()
    net = MotionTransformer(layers=layers, persons=persons, control=control)
    net.set_statistics(stuff.mean_C, stuff.std_C)
    learner = Learner(net, WordEncoder(len(words), layers=1))
    main = stuff.sequences if what == "sequences" else stuff.pairs
    corpora = [(Corpus(main, words, BATCH), 3), (Corpus(stuff.solos, words, BATCH), 1)]
    facts = context.fit(learner, learning.alternating(corpora, context.seed), learning.denoising(weights))
    net.save_pretrained(context.folder / "net")
    learner.text.save_pretrained(context.folder / "text_encoder")
    return {"fit": facts, "parameters": _size(net) + _size(learner.text)}


def _coordinator(
    context: Context,
    *,
    mutual: bool = True,
    weights: Weights = learning.COORDINATOR,
    pairs: int = PAIRS,
    ins: str = "ins",
) -> Mapping[str, Any]:
    """REC, on what the frozen composer of stage ``ins`` makes of the sequences."""
    stuff, words = material(context.seed, pairs), tokenizer()
    net, text = composer(context.before(ins))
    rec = Coordinator(mutual=mutual)
    rec.set_statistics(stuff.mean_C, stuff.std_C)
    batches = coordinator_data(Learner(net, text), Corpus(stuff.sequences, words, BATCH), context.seed)
    facts = context.fit(rec, batches, coordinator_step(weights))
    rec.save_pretrained(context.folder / "net")
    return {"fit": facts, "parameters": _size(rec)}


def composer(folder: Path) -> tuple[Any, Any]:
    """A trained denoiser and its text encoder, frozen."""
    net = MotionTransformer.from_pretrained(folder / "net").requires_grad_(False).eval()
    text = WordEncoder.from_pretrained(folder / "text_encoder").requires_grad_(False).eval()
    return net, text


@dataclass(frozen=True, kw_only=True)
class _Scenes:
    u: torch.Tensor
    mask: torch.Tensor
    ids: torch.Tensor
    words: torch.Tensor
    parted: tuple[torch.Tensor, torch.Tensor] | tuple[()]

    @property
    def tokens(self) -> int:
        return int(self.mask.sum())


def _evaluator(context: Context, *, strict: bool = True) -> Mapping[str, Any]:
    """The embedding that everything is measured in, from scenes that no generator may see.

    ``strict``: learns that persons who are out of place or time fit no caption.
    """
    words = tokenizer()
    drawn = data.scenes("evaluator", EVALUATOR_SCENES)
    clips = data.pack(drawn)
    meet = torch.tensor(["interaction" in clip.kinds for clip in drawn])
    mean, std = data.statistics([clips])
    net = MotionEvaluator(len(words))
    net.set_statistics(mean, std)
    ids, there = tokens(words, clips.captions)

    def batches(step: int) -> Iterator[_Scenes]:
        while True:
            g = torch.Generator().manual_seed(context.seed * 1_000_003 + step)
            rows = torch.randint(len(clips), (64,), generator=g)
            u, longest = clips.u_N2TC[rows], int(there[rows].sum(dim=-1).amax())
            u, mask = u + 0.002 * torch.randn(u.shape, generator=g), clips.mask_N2T[rows, 0]
            wrong = parted(u[meet[rows]], mask[meet[rows]], g) if strict else ()
            yield _Scenes(u=u, mask=mask, ids=ids[rows, :longest], words=there[rows, :longest], parted=wrong)
            step += 1

    def backward(model: MotionEvaluator, batch: _Scenes) -> float:
        loss = model(batch.u, batch.mask, batch.ids, batch.words, *batch.parted)
        loss.backward()
        return float(loss.detach())

    facts = context.fit(net, batches, backward)
    net.save_pretrained(context.folder / "net")
    return {"fit": facts, "parameters": _size(net)}


def ship(trained: Path, weights: Path) -> None:
    """Writes the folder that ships from the stages in ``trained``. Raises UsageError."""
    shipping.ship(trained, weights, tokenizer())


def _size(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


INS_RECIPE = Recipe(steps=500, lr=2e-3, muon_lr=0.01, warmup=30, decay=0.6, every=50, ema=0.99)
REC_RECIPE = Recipe(steps=300, lr=2e-3, muon_lr=0.01, warmup=30, decay=0.6, every=50, ema=0.99)
JOINT_RECIPE = Recipe(steps=550, lr=2e-3, muon_lr=0.01, warmup=30, decay=0.6, every=50, ema=0.99)
"""As many CPU-seconds as INS and REC together."""
JOINT_LAYERS = 7
"""As many parameters as INS and REC together."""

_ins = partial(_denoiser, what="sequences", weights=COMPOSER)
_joint = partial(_denoiser, what="recorded", weights=JOINT, persons=2, layers=JOINT_LAYERS)
_strong = partial(_denoiser, what="sequences", weights=JOINT, persons=2, layers=JOINT_LAYERS)

EVALUATOR_RECIPE = Recipe(steps=600, lr=1e-3, muon_lr=0.005, every=50)

STAGES: dict[str, Stage] = {
    "evaluator": Stage(recipe=EVALUATOR_RECIPE, run=_evaluator),
    "evaluator_lax": Stage(recipe=EVALUATOR_RECIPE, run=partial(_evaluator, strict=False), ships=False),
    "ins": Stage(recipe=INS_RECIPE, run=_ins),
    "rec": Stage(recipe=REC_RECIPE, run=_coordinator, needs=("ins",)),
    "joint": Stage(recipe=JOINT_RECIPE, run=_joint, ships=False),
    "strong": Stage(recipe=JOINT_RECIPE, run=_strong, ships=False),
    "mdm": Stage(
        recipe=INS_RECIPE, run=partial(_denoiser, what="recorded", weights=Weights(), control=False), ships=False
    ),
    "ins_free": Stage(recipe=INS_RECIPE, run=partial(_ins, control=False), ships=False),
    "ins_rough": Stage(recipe=INS_RECIPE, run=partial(_ins, weights=Weights()), ships=False),
    "rec_free": Stage(
        recipe=REC_RECIPE,
        run=partial(_coordinator, weights=replace(learning.COORDINATOR, relative=0.0)),
        needs=("ins",),
        ships=False,
    ),
    "rec_sequential": Stage(recipe=REC_RECIPE, run=partial(_coordinator, mutual=False), needs=("ins",), ships=False),
}
"""Those that ship; an evaluator without hard negatives; one-stage generators (pairs as recorded, interleaved), MDM;
ablations."""
MAP = (50, 300, 1600)
"""Pairs for the map of where the collaboration pays, at half the steps."""


def _shorter(recipe: Recipe) -> Recipe:
    return replace(recipe, steps=recipe.steps // 2)


for _pairs in MAP:
    STAGES |= {
        f"ins_{_pairs}": Stage(recipe=_shorter(INS_RECIPE), run=partial(_ins, pairs=_pairs), ships=False),
        f"rec_{_pairs}": Stage(
            recipe=_shorter(REC_RECIPE),
            run=partial(_coordinator, pairs=_pairs, ins=f"ins_{_pairs}"),
            needs=(f"ins_{_pairs}",),
            ships=False,
        ),
        f"joint_{_pairs}": Stage(recipe=_shorter(JOINT_RECIPE), run=partial(_joint, pairs=_pairs), ships=False),
        f"strong_{_pairs}": Stage(recipe=_shorter(JOINT_RECIPE), run=partial(_strong, pairs=_pairs), ships=False),
    }
