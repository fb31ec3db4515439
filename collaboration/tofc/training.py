"""Trains a codec with its vision language model: next-token cross entropy plus rate plus balance.

The codec and the projector learn as a whole, the vision tower and the language model through LoRA adapters. Each step
takes one number of tokens and one quality level. Source: AI Flow, section II-B1.

Legend: B rows, S tokens that stay of them, D size of the language model, C tokens that count, V vocabulary.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.losses import at_least_float, cast
from aiflow.collaboration.familial.training import TextBatch
from aiflow.collaboration.tofc.batches import Batch, Read, apart, together
from aiflow.collaboration.tofc.model import Compressor
from aiflow.errors import InputError
from aiflow.fitting import Progress, Recipe, fit


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is paid for what.

    Attributes:
        rates: per level, the loss of one bit of an image.
        balance: weight of the balance loss.
        temperature: of the router's softmax, at the first and the last step; between them it falls exponentially.
        anneal: share of the steps over which the temperature falls; then it stays.
        ramp: share of the steps over which rates grow from nothing to their value.
    """

    rates: tuple[float, ...]
    balance: float = 0.05
    temperature: tuple[float, float] = (1.0, 0.1)
    anneal: float = 0.4
    ramp: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Of one batch: cross entropy (nats per token), bits per image, balance loss; differentiable."""

    distortion: Tensor
    bits: Tensor
    balance: Tensor


def losses(
    model: Compressor,
    batch: TextBatch | Batch,
    *,
    tokens: int,
    level: int | None,
    temperature: float,
    autocast: bool = False,
) -> Losses:
    """One forward pass of a batch in which every row has one image.

    Args:
        model: of any kind.
        batch: images of any sizes (`Batch`), or of one size, as one tensor (`familial.training.TextBatch`).
        tokens: features to keep of each image; an image that has fewer keeps all.
        level: of quality; None: merging without quantisation.
        temperature: of the router's softmax.
        autocast: bfloat16 arithmetic of tower and language model.

    Raises:
        InputError: for a row without an image, or a batch without a token that counts.
    """
    take: Any = together if isinstance(batch, TextBatch) else apart
    read: Read = take(model, batch, tokens=tokens, level=level, temperature=temperature, autocast=autocast)
    counts_BS = read.weights_BS > 0
    if not bool(counts_BS.any()):
        raise InputError("no token of the batch has a loss weight; leave such batches out.")
    own = model.parts
    with cast(read.weights_BS, autocast):
        h_BSD = model.place(read.ids_BS, read.x, read.what_P)
        # Without a mask transformers takes the gaps between places for borders of texts packed into one row.
        out_BSD = own.text(
            inputs_embeds=h_BSD,
            position_ids=read.positions,
            attention_mask=torch.ones_like(read.ids_BS),
            use_cache=False,
        ).last_hidden_state
        logits_CV = at_least_float(own.head(out_BSD[counts_BS]))
    each_C = torch.nn.functional.cross_entropy(logits_CV, read.targets_BS[counts_BS], reduction="none")
    distortion = (each_C * read.weights_BS[counts_BS]).sum() / read.weights_BS[counts_BS].sum()
    return Losses(distortion=distortion, bits=read.bits, balance=read.balance)


def fit_codec(
    model: Compressor,
    data: Callable[[int], Iterator[Any]],
    recipe: Recipe,
    objective: Objective,
    *,
    checkpoint: Path,
    stage: str = "tofc",
    autocast: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
    stop: int | None = None,
) -> dict[str, float]:
    """Trains a prepared compressor in place with `fitting.fit`; returns its state (step, tokens, seconds).

    Args:
        model: prepared by `Compressor.prepare`.
        data: the batches from a step on; must give the same ones for the same step.
        recipe: steps, rates, schedule.
        objective: prices.
        checkpoint: file of the trainable weights.
        stage: name for ``progress``.
        autocast: bfloat16 arithmetic of tower and language model.
        resume: continue from the checkpoint if it is there.
        progress: called at every checkpoint.
        stop: ends early, as a kill would.

    Raises:
        InputError: if the objective does not price the codec's levels.
    """
    config = model.codec.config
    if len(objective.rates) != config.levels:
        raise InputError(f"{len(objective.rates)} rates for {config.levels} levels; give one per level.")
    step = 0

    def batches(start: int) -> Iterator[Any]:
        nonlocal step
        step = start
        return data(start)

    def backward(model: Compressor, batch: Any) -> float:
        nonlocal step
        done = step / recipe.steps
        # Every pair of a number of tokens and a level in turn, by numbers without a common divisor where possible.
        level, tokens = step % config.levels, config.tokens[(step // config.levels + step) % len(config.tokens)]
        hot, cold = objective.temperature
        cooled = min(1.0, done / objective.anneal) if objective.anneal else 1.0
        with torch.random.fork_rng():
            torch.manual_seed(step)  # the noise is the step's, so that a killed run continues exactly
            found = losses(
                model,
                batch,
                tokens=tokens,
                level=level,
                temperature=hot * (cold / hot) ** cooled,
                autocast=autocast,
            )
        price = objective.rates[level] * min(1.0, done / objective.ramp if objective.ramp else 1.0)
        loss = found.distortion + price * found.bits + objective.balance * found.balance
        loss.backward()  # type: ignore[no-untyped-call]
        step += 1
        return loss.item()

    return fit(
        model,
        batches,
        recipe,
        backward,
        stage=stage,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
        stop=stop,
    )
