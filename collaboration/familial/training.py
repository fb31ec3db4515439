"""Trains a family: which weights learn, which members a step takes, and their gradients at the memory of one member.

The loss of a step is the average of the members' cross entropies; with distillation the full model teaches the
others. Callers who write a loop of their own need `Family.hidden` and `Family.read`. Knows neither where the data come
from nor how steps are scheduled (`fitting`).

Legend: B rows, T tokens, D model size, V vocabulary, C tokens that count. Source: AI Flow, section III-B2.
"""

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.losses import Distillation, at_least_float, cast, losses_of
from aiflow.errors import InputError
from aiflow.fitting import Progress, Recipe, fit

Mode = Literal["frozen", "lora", "full"]


class Batch(Protocol):
    """What a step learns from. ``targets_BT`` and ``weights_BT`` stand where the embeddings that predict them stand."""

    @property
    def targets_BT(self) -> Tensor:
        """Token ids to predict."""

    @property
    def weights_BT(self) -> Tensor:
        """Loss weights; 0: no loss, and no logits either."""

    @property
    def tokens(self) -> int:
        """Tokens of the batch, for the log."""

    def embeds(self, family: Family) -> Tensor:
        """Input embeddings (B, T, D), differentiable in whatever the family trains of them."""


@dataclass(frozen=True, kw_only=True)
class TextBatch:
    """Token ids, padded on the right, with images or without."""

    ids_BT: Tensor
    targets_BT: Tensor
    weights_BT: Tensor
    pixel_values: Tensor | None = None
    tokens: int = 0

    @classmethod
    def of(
        cls, ids_BT: Tensor, weights_BT: Tensor, pixel_values: Tensor | None = None, *, tokens: int | None = None
    ) -> "TextBatch":
        """Each token predicts the next one; ``weights_BT`` says how much it counts that token t is predicted.

        ``tokens``: how many there are without padding (None: all).
        """
        return cls(
            ids_BT=ids_BT[:, :-1],
            targets_BT=ids_BT[:, 1:],
            weights_BT=weights_BT[:, 1:],
            pixel_values=pixel_values,
            tokens=ids_BT.numel() if tokens is None else tokens,
        )

    def embeds(self, family: Family) -> Tensor:
        """(B, T, D)."""
        return family.embed(self.ids_BT, self.pixel_values)


def prepare(family: Family, mode: Mode, *, rank: int = 256, vision: bool = False) -> None:
    """Decides what learns. The branches always do.

    Args:
        family: changed in place.
        mode: "frozen": the branches only. "lora": also rank-``rank`` adapters on the linears of the backbone's blocks;
            `merge` folds them in afterwards. "full": also the backbone's blocks, norm, head and embeddings.
        rank: of the adapters.
        vision: the vision tower and the projector learn too.

    Raises:
        InputError: for an unknown mode, a part that is not there, or adapters that are not merged yet.
    """
    if mode not in ("frozen", "lora", "full"):
        raise InputError(f"mode={mode!r} is not known; use 'frozen', 'lora' or 'full'.")
    own = family.parts
    if vision and own.vision is None:
        raise InputError("vision=True, but this model has no vision tower; leave it out.")
    if vision and mode == "frozen":
        raise InputError("vision=True needs a backbone that learns; use the mode 'lora' or 'full'.")
    if hasattr(own.text, "peft_config"):
        raise InputError("the backbone has adapters of an earlier stage; fold them in with merge(family) first.")
    family.requires_grad_(False)
    family.branches.requires_grad_(True)
    if mode == "full":
        own.text.requires_grad_(True)
        own.head.requires_grad_(True)
    elif mode == "lora":
        _adapt(own.text, rank)
    if vision:
        own.vision.requires_grad_(True)
        own.projector.requires_grad_(True)


def _adapt(text: Any, rank: int) -> None:
    if rank < 1:
        raise InputError(f"LoRA rank {rank} is not usable; give at least 1.")
    from peft import LoraConfig, inject_adapter_in_model

    pattern = r"layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=pattern), text)


def merge(family: Family) -> None:
    """Folds LoRA adapters into the backbone's weights, in place; nothing of them remains. Harmless without adapters."""
    from peft.tuners.lora import LoraLayer

    text = family.parts.text
    for path, module in list(text.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, leaf = path.rpartition(".")
            setattr(text.get_submodule(parent), leaf, module.get_base_layer())
    if hasattr(text, "peft_config"):
        del text.peft_config


def accumulate(
    family: Family,
    batch: Batch,
    members: Sequence[Member],
    *,
    subsets: Sequence[Sequence[Member]] | None = None,
    weights: Mapping[Member, float] | None = None,
    distillation: Distillation | None = None,
    autocast: bool = False,
) -> dict[Member, float]:
    """Adds the gradients of the members' mean loss to ``.grad`` and returns each member's own loss.

    The backbone runs once. Each subset runs forward and backward alone, from copies of the hidden states that collect
    its gradients; one backward pass through the backbone ends the step. The sum is exactly the joint loss's gradient.

    Args:
        family: prepared by `prepare`.
        batch: what to learn from.
        members: the full model, whole branches, parts of branches.
        subsets: members whose graphs are in memory together; by default each alone.
        weights: of the members in the mean; by default equal.
        distillation: the full model teaches the other members, by what it predicts before this step.
        autocast: bfloat16 arithmetic; the losses stay float32.

    Raises:
        InputError: for a member that is not there, subsets that are not the members, a batch without weights, or
            distillation in a part of a family without the full model.
    """
    chosen = tuple(dict.fromkeys(members))
    for member in chosen:
        family.check(member)
    groups = [tuple(s) for s in subsets] if subsets is not None else [(m,) for m in chosen]
    if Counter(m for s in groups for m in s) != Counter(chosen):
        raise InputError("the subsets do not hold each member exactly once; leave them out to take one at a time.")
    shares = _shares(chosen, weights)
    full = Member(exit=family.depth)
    if distillation and not family.whole:
        raise InputError(
            "distillation needs the full model, and only the first blocks are here; load the whole family."
        )
    states = _states(family, batch, {m.exit for m in chosen} | ({full.exit} if distillation else set()), autocast)
    wanted_CV = None
    if distillation:
        with torch.no_grad():
            wanted_CV = _logits(family, batch, full, states[full.exit], autocast).log_softmax(-1)
    leaves = {e: h.detach().requires_grad_(h.requires_grad) for e, h in states.items()}
    losses: dict[Member, float] = {}
    for group in groups:
        total: Any = 0.0
        for member in group:
            taught = (None, None) if member == full else (wanted_CV, distillation)
            loss = _loss(family, batch, member, leaves[member.exit], *taught, autocast=autocast)
            losses[member] = loss.item()
            total = total + shares[member] * loss
        if total.requires_grad:
            total.backward()
        del total, loss
    reached = [(states[e], leaf.grad) for e, leaf in leaves.items() if leaf.grad is not None]
    if reached:
        torch.autograd.backward([h for h, _ in reached], [g for _, g in reached])
    return {member: losses[member] for member in chosen}


def _loss(
    family: Family,
    batch: Batch,
    member: Member,
    h_BTD: Tensor,
    wanted_CV: Tensor | None,
    distillation: Distillation | None,
    *,
    autocast: bool,
) -> Tensor:
    logits_CV = _logits(family, batch, member, h_BTD, autocast)
    chosen_BT = batch.weights_BT > 0
    weights_C = batch.weights_BT[chosen_BT]
    losses_C = losses_of(logits_CV, batch.targets_BT[chosen_BT], wanted_CV, distillation)
    return (losses_C * weights_C).sum() / weights_C.sum()


def _logits(family: Family, batch: Batch, member: Member, h_BTD: Tensor, autocast: bool) -> Tensor:
    """Logits (C, V) of a member, from the states at its exit, where a token counts. Raises InputError for no token."""
    chosen_BT = batch.weights_BT > 0
    if not chosen_BT.any():
        raise InputError("no token of the batch has a loss weight; leave such batches out.")
    with cast(h_BTD, autocast):
        return at_least_float(family.head(member)(family.read(h_BTD, member)[chosen_BT]))


def _states(family: Family, batch: Batch, exits: set[int], autocast: bool) -> dict[int, Tensor]:
    learns = any(p.requires_grad for p in family.backbone.parameters())
    with torch.set_grad_enabled(learns), cast(batch.weights_BT, autocast):
        return family.hidden(batch.embeds(family), exits)


def _shares(members: Sequence[Member], weights: Mapping[Member, float] | None) -> dict[Member, float]:
    if not members:
        raise InputError("no member to train; name at least one.")
    given = {m: 1.0 if weights is None else weights.get(m, 1.0) for m in members}
    total = sum(given.values())
    if min(given.values()) < 0 or total <= 0:
        raise InputError(f"member weights {list(given.values())} are not usable; give weights above 0.")
    return {m: w / total for m, w in given.items()}


Selection = Callable[[int, Mapping[Member, float]], tuple[Member, ...]]
"""The members of a step, from its number and every member's last loss; the same for the same arguments."""


def selection(
    kind: Literal["all", "random", "round-robin", "loss"], members: Sequence[Member], *, count: int = 1, seed: int = 0
) -> Selection:
    """Which members each step trains.

    Args:
        kind: "all"; "random": ``count`` of them, drawn anew for each step; "round-robin": the next ``count``; "loss":
            ``count`` drawn with probability proportional to their last losses (a member never trained has the highest).
        members: to choose from.
        count: members of a step.
        seed: of the draws.

    Raises:
        InputError: for an unknown kind, no members, or a count outside 1..len(members).
    """
    every = tuple(dict.fromkeys(members))
    if not every or not 1 <= count <= len(every):
        raise InputError(f"{count} of {len(every)} members is not usable; give members and a count up to their number.")

    def drawn(step: int, weights: Sequence[float]) -> tuple[Member, ...]:
        # The largest log(u) / w are a weighted draw without replacement (Efraimidis and Spirakis 2006).
        rng = random.Random(f"{seed} {step}")
        keys = [math.log(1 - rng.random()) / max(w, 1e-9) for w in weights]
        best = sorted(range(len(every)), key=lambda i: -keys[i])[:count]
        return tuple(every[i] for i in sorted(best))

    def by_loss(step: int, losses: Mapping[Member, float]) -> tuple[Member, ...]:
        highest = max((losses[m] for m in every if m in losses), default=1.0)
        return drawn(step, [losses.get(m, highest) for m in every])

    kinds: dict[str, Selection] = {
        "all": lambda _step, _losses: every,
        "random": lambda step, _losses: drawn(step, [1.0] * len(every)),
        "round-robin": lambda step, _losses: tuple(every[(step * count + i) % len(every)] for i in range(count)),
        "loss": by_loss,
    }
    if kind not in kinds:
        raise InputError(f"selection {kind!r} is not known; use one of {', '.join(kinds)}.")
    return kinds[kind]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """``state``: step, tokens, seconds, from `fitting.fit`; ``losses``: of each member when it was last trained."""

    state: dict[str, float]
    losses: dict[Member, float]


def fit_family(
    family: Family,
    data: Callable[[int], Iterator[Any]],
    recipe: Recipe,
    select: Selection,
    *,
    checkpoint: Path,
    stage: str = "family",
    subset: int = 1,
    weights: Mapping[Member, float] | None = None,
    distillation: Distillation | None = None,
    autocast: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
    stop: int | None = None,
) -> Fitted:
    """Trains a prepared family with `fitting.fit`: each step accumulates the gradients of the members of the step.

    Args:
        family: prepared by `prepare`, trained in place.
        data: the `Batch` es from a step on; must give the same ones for the same step.
        recipe: steps, rates, schedule.
        select: the members of each step (`selection`).
        checkpoint: file of the trainable weights; the members' last losses are kept beside it, for the selection.
        stage: name for ``progress``.
        subset: members whose graphs are in memory together.
        weights: of the members in the mean loss.
        distillation: the full model teaches the other members.
        autocast: bfloat16 arithmetic.
        resume: continue from the checkpoint if it is there.
        progress: called at every checkpoint.
        stop: ends early, as a kill would.
    """
    last = min(recipe.steps, stop or recipe.steps)
    log = _Log(checkpoint.with_suffix(".losses.json"), recipe.every, last)

    def batches(start: int) -> Iterator[Any]:
        log.begin(start)
        return data(start)

    def backward(model: Any, batch: Any) -> float:
        members = select(log.step, log.losses)
        groups = [members[i : i + subset] for i in range(0, len(members), subset)]
        now = accumulate(
            model, batch, members, subsets=groups, weights=weights, distillation=distillation, autocast=autocast
        )
        log.add(now)
        return sum(now.values()) / len(now)

    state = fit(
        family,
        batches,
        recipe,
        backward,
        stage=stage,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
        stop=stop,
    )
    return Fitted(state=state, losses=dict(log.losses))


class _Log:
    """The members' last losses. Kept for the last two checkpoints, since a kill can fall between the two files."""

    def __init__(self, path: Path, every: int, last: int) -> None:
        self.path, self.every, self.last = path, every, last
        self.step, self.losses = 0, dict[Member, float]()
        self._kept: dict[str, list[Any]] = {}

    def begin(self, step: int) -> None:
        self.step = step
        if step and self.path.exists():
            self._kept = json.loads(self.path.read_text())
            self.losses = {Member(exit=e, keep=k): x for e, k, x in self._kept.get(str(step), [])}

    def add(self, now: Mapping[Member, float]) -> None:
        self.losses.update(now)
        self.step += 1
        if self.step % self.every == 0 or self.step == self.last:
            self._kept[str(self.step)] = [[m.exit, m.keep, x] for m, x in self.losses.items()]
            self._kept = dict(list(self._kept.items())[-2:])
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self._kept))
