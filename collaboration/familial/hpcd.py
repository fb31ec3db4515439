"""HPCD: a model's linears as sums of low-rank components, each trained while the earlier ones stay as they are.

Component 1 is the whitened SVD of the weight, component k that of what the trained ones before it leave; the model
learns from data and from the dense teacher. The first k components are a smaller model whose weights are the first
rows of the whole. Knows neither data nor files of text.

Legend: B rows, T tokens, D model size, V vocabulary, C tokens that count, H components, M outputs, N inputs.
Source: AI Flow, section III-B1.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aiflow.collaboration.familial.branching import Calibration, Grams, decomposed, input_grams, ranks_of, weight_of
from aiflow.collaboration.familial.checkpoint import Checkpoint, open_checkpoint
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.kinds import LINEARS, get_linear, parts, set_linear, with_blocks, with_linears
from aiflow.collaboration.familial.linear import LowRank, balanced
from aiflow.collaboration.familial.losses import Distillation, at_least_float, cast, losses_of
from aiflow.collaboration.familial.nested import Level, save
from aiflow.collaboration.familial.store import Storage
from aiflow.collaboration.familial.training import Batch
from aiflow.errors import InputError
from aiflow.fitting import Progress, Recipe, fit


class Components(nn.Module):
    """A linear during training: the component that learns, and the frozen sum of the earlier ones (None for the first).

    The bias is the first component's.
    """

    def __init__(self, frozen: LowRank | None, current: LowRank) -> None:
        super().__init__()
        self.frozen, self.current = frozen, current

    @property
    def in_features(self) -> int:
        """N."""
        return self.current.in_features

    @property
    def out_features(self) -> int:
        """M."""
        return self.current.out_features

    def forward(self, x_TN: Tensor) -> Tensor:
        """(..., N) -> (..., M)."""
        y_TM: Tensor = self.current(x_TN)
        return y_TM if self.frozen is None else self.frozen(x_TN) + y_TM

    def collapse(self) -> LowRank:
        """One layer with the rows of all components, in order."""
        return self.current if self.frozen is None else LowRank.cat([self.frozen, self.current])


@dataclass(frozen=True, kw_only=True)
class Hierarchy:
    """``model``: the student with `LowRank` linears; ``levels``: rank by linear of the first 1, 2, ... components.

    ``spent``: "step", "tokens" and "seconds" of all components together.
    """

    model: Any
    levels: list[dict[str, int]]
    dense: Checkpoint
    spent: Mapping[str, float]

    def first(self, count: int) -> Any:
        """The model of the first ``count`` components; shares memory with the whole. Raises InputError."""
        if not 1 <= count <= len(self.levels):
            raise InputError(f"{count} components are not available; the model has 1 to {len(self.levels)}.")
        ranks, blocks = self.levels[count - 1], []
        for i, block in enumerate(parts(self.model).text.layers):
            views = {n: get_linear(block, n).first(ranks[f"{self.dense.layers}{i}.{n}"]) for n in LINEARS}
            blocks.append(with_linears(block, views, i))
        return with_blocks(self.model, blocks)

    def save(self, folder: Path, *, storage: Storage | None = None) -> list[Level]:
        """Writes all members into one file, whose first bytes are the smallest; see `nested.save` and `nested.load`."""
        state = self.model.state_dict()
        rows = _rows(self.model)
        titles = [str(k + 1) for k in range(len(self.levels))]
        dtype = next(parts(self.model).text.layers.parameters()).dtype
        levels = list(zip(titles, self.levels, strict=True))
        return save(folder, replace(self.dense, read=state.__getitem__), levels, rows, dtype, storage=storage)


def train(
    teacher: Any,
    calibration: Sequence[Calibration],
    data: Callable[[int], Iterator[Any]],
    recipe: Recipe | Sequence[Recipe],
    *,
    count: int,
    keep: float | None = None,
    rank: int | None = None,
    folder: Path,
    whitening: Literal["teacher", "current", "plain"] = "teacher",
    distillation: Distillation | None = None,
    norms: bool = False,
    autocast: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
) -> Hierarchy:
    """Trains ``count`` components one after the other. With recipes of 0 steps this is one SVD cut into slices.

    The student's embeddings, head, norms and biases are copies of the teacher's and stay fixed, because every member
    uses them: a later component that moved them would change what the first ones compute, and the first rows of the
    file would no longer be the model that was trained.

    Args:
        teacher: a dense causal or LLaVA-type model; unchanged.
        calibration: inputs for the whitening.
        data: training batches (`training.Batch`) from a step on.
        recipe: of every component, or one for each (the paper trains the first on four times the last one's tokens).
        count: of components.
        keep: share of the parameters of each linear that one component keeps; this or ``rank``.
        rank: of one component of every linear.
        folder: of the checkpoints, one file for each component.
        whitening: with the teacher's inputs, with those of the student as trained so far, or none.
        distillation: weights of the loss.
        norms: the norms learn with the first component (and are fixed from the second on).
        autocast: bfloat16 arithmetic in training; the losses stay float32.
        resume: continue from the checkpoints.
        progress: called at every checkpoint, with the stages "component 1", "component 2", ...

    Raises:
        InputError: for counts or shares that exceed a matrix's rank, or calibration without a token.
    """
    guide = Family(teacher)
    blocks = guide.parts.text.layers
    ranks = _ranks(blocks, keep, rank)
    _check(blocks, ranks, count)
    recipes = [recipe] * count if isinstance(recipe, Recipe) else list(recipe)
    if len(recipes) != count:
        raise InputError(f"{len(recipes)} recipes for {count} components; give one for each, or one for all.")
    student = Family(copy.deepcopy(teacher))
    student.requires_grad_(False)
    grams = None if whitening == "plain" else input_grams(guide, range(len(blocks)), calibration)
    step = backward(guide, distillation or Distillation(), autocast=autocast)
    spent = {"step": 0, "tokens": 0, "seconds": 0.0}
    for k in range(count):
        if k and whitening == "current":
            grams = input_grams(student, range(len(blocks)), calibration)
        add_component(student, guide, ranks, grams)
        _unfreeze_norms(student, norms and k == 0)
        file = folder / f"component-{k + 1}.pt"
        one = fit(
            student,
            data,
            recipes[k],
            step,
            stage=f"component {k + 1}",
            checkpoint=file,
            resume=resume,
            progress=progress,
        )
        spent = {key: spent[key] + one[key] for key in spent}
        _collapse(student)
    dense = open_checkpoint(teacher)
    levels = [
        {f"{dense.layers}{i}.{n}": (k + 1) * own[n] for i, own in enumerate(ranks) for n in LINEARS}
        for k in range(count)
    ]
    return Hierarchy(model=student.backbone, levels=levels, dense=dense, spent=spent)


def add_component(
    student: Family, teacher: Family, ranks: Sequence[Mapping[str, int]], grams: Mapping[int, Grams] | None
) -> None:
    """Puts `Components` in the student's place of each linear: what is there, frozen, and the residual's factors."""
    for i, (block, dense) in enumerate(zip(student.parts.text.layers, teacher.parts.text.layers, strict=True)):
        rest = with_linears(dense, {n: _Residual(get_linear(dense, n), get_linear(block, n)) for n in LINEARS}, i)
        factors, _ = decomposed(rest, ranks[i], None if grams is None else grams[i])
        for name in LINEARS:
            there, weight = get_linear(block, name), get_linear(dense, name).weight
            frozen = there.requires_grad_(False) if isinstance(there, LowRank) else None
            bias = None if frozen is not None or there.bias is None else there.bias.detach().clone()
            u_HM, v_HN = (f.to(weight.dtype) for f in balanced(factors[name].u_HM, factors[name].v_HN))
            current = LowRank(u_HM, v_HN, bias)
            if current.bias is not None:
                current.bias.requires_grad_(False)
            set_linear(block, name, Components(frozen, current))


class _Residual(nn.Module):
    """What a student's linear lacks of the teacher's."""

    def __init__(self, dense: Any, there: Any) -> None:
        super().__init__()
        weight_MN = weight_of(dense)
        self.weight = weight_MN - weight_of(there) if isinstance(there, LowRank) else weight_MN
        self.in_features = dense.in_features


def backward(teacher: Family, loss: Distillation, *, autocast: bool = False) -> Callable[[Any, Batch], float]:
    """For `fitting.fit`: computes the loss of a student and its gradients; logits only where a token counts."""
    top = Member(exit=teacher.depth)

    def logits(family: Family, h_BTD: Tensor, chosen_BT: Tensor) -> Tensor:
        with cast(h_BTD, autocast):
            features_BTD = family.read(family.hidden(h_BTD, [top.exit])[top.exit], top)
            logits_CV: Tensor = family.head(top)(features_BTD[chosen_BT])
        return at_least_float(logits_CV)

    def step(student: Any, batch: Batch) -> float:
        chosen_BT = batch.weights_BT > 0
        weights_C = batch.weights_BT[chosen_BT]
        if not len(weights_C):
            raise InputError("no token of the batch has a loss weight; leave such batches out.")
        with torch.no_grad(), cast(batch.weights_BT, autocast):
            h_BTD = batch.embeds(teacher)  # the student's embeddings are copies of the teacher's
        logits_CV = logits(student, h_BTD, chosen_BT)
        wanted_CV = None
        if loss.kl:
            with torch.no_grad():
                wanted_CV = logits(teacher, h_BTD, chosen_BT).log_softmax(-1)
        total_C = losses_of(logits_CV, batch.targets_BT[chosen_BT], wanted_CV, loss)
        total = (total_C * weights_C).sum() / weights_C.sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total.item()

    return step


def _ranks(blocks: Any, keep: float | None, rank: int | None) -> list[dict[str, int]]:
    if keep is not None and rank is None:
        return [ranks_of(block, keep) for block in blocks]
    if rank is None or keep is not None or rank < 1:
        raise InputError(f"keep={keep} with rank={rank} is not usable; give one of them, and a rank of at least 1.")
    return [dict.fromkeys(LINEARS, rank) for _ in blocks]


def _check(blocks: Any, ranks: Sequence[Mapping[str, int]], count: int) -> None:
    if count < 1:
        raise InputError(f"count={count} is not usable; give at least one component.")
    for block, own in zip(blocks, ranks, strict=True):
        for name in LINEARS:
            m, n = get_linear(block, name).weight.shape
            if count * own[name] > min(m, n):
                raise InputError(
                    f"{count} components of rank {own[name]} exceed the rank of {name} ({m} x {n}); "
                    f"use fewer or smaller ones, {min(m, n)} components of rank 1 at most."
                )


def _unfreeze_norms(student: Family, learn: bool) -> None:
    text = student.parts.text
    for name, parameter in [*text.layers.named_parameters(), *text.norm.named_parameters(prefix="norm")]:
        if "norm" in name:
            parameter.requires_grad_(learn)


def _collapse(student: Family) -> None:
    for block in student.parts.text.layers:
        for name in LINEARS:
            set_linear(block, name, get_linear(block, name).collapse())


def _rows(model: Any) -> Callable[[str, str, slice], Tensor]:
    def rows(name: str, which: str, part: slice) -> Tensor:
        factor: Tensor = getattr(model.get_submodule(name), which)
        return factor.detach()[part]

    return rows
