"""What a training step sees and computes: batches with their noise drawn by step, losses of composer and coordinator.

Knows no stages and no recipes. A batch of a step is always the same, so that a run that was stopped goes on exactly.

Legend: B scenes, P=2 persons, T frames, C=262 features, L words.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aiflow.diffusion.motion import losses, sampling
from aiflow.diffusion.motion.data import Pack
from aiflow.diffusion.words import tokens

TEXT_DROPPED = 0.1
CUE_DROPPED = 0.05


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips with what is drawn for this step."""

    clean: Pack
    ids_BL: Tensor
    words_BL: Tensor
    t_B: Tensor
    noise_BPTC: Tensor
    text_dropped_B: Tensor
    cue_dropped_B: Tensor

    @property
    def tokens(self) -> int:
        """Frames of persons."""
        return self.clean.tokens


class Corpus:
    """Clips and their captions as ids; draws batches."""

    def __init__(self, clips: Pack, tokenizer: Any, batch: int, steps: int = 1000) -> None:
        self.clips, self.batch, self.steps = clips, batch, steps
        self.ids_NL, self.words_NL = tokens(tokenizer, clips.captions)

    def draw(self, seed: int, step: int) -> Batch:
        """The batch of a step."""
        g = torch.Generator().manual_seed(seed * 1_000_003 + step)
        rows = torch.randint(len(self.clips), (self.batch,), generator=g)
        clean, ids_BL, words_BL = self.clips[rows], self.ids_NL[rows], self.words_NL[rows]
        longest = int(words_BL.sum(dim=-1).amax())
        return Batch(
            clean=clean,
            ids_BL=ids_BL[:, :longest],
            words_BL=words_BL[:, :longest],
            t_B=torch.randint(self.steps, (self.batch,), generator=g),
            noise_BPTC=torch.randn(clean.u_N2TC.shape, generator=g),
            text_dropped_B=torch.rand(self.batch, generator=g) < TEXT_DROPPED,
            cue_dropped_B=torch.rand(self.batch, generator=g) < CUE_DROPPED,
        )


def alternating(corpora: Sequence[tuple[Corpus, int]], seed: int) -> Callable[[int], Iterator[Batch]]:
    """Batches of several corpora in turn: ``(corpus, how many of each round)``."""
    order = [corpus for corpus, often in corpora for _ in range(often)]

    def data(step: int) -> Iterator[Batch]:
        while True:
            yield order[step % len(order)].draw(seed, step)
            step += 1

    return data


class Learner(nn.Module):
    """A network and the text encoder it learns with."""

    def __init__(self, net: Any, text: Any) -> None:
        super().__init__()
        self.net, self.text = net, text
        self.scheduler = sampling.ddim()

    def condition(self, batch: Batch) -> sampling.Condition:
        """What the network is told in this step."""
        with torch.autocast("cpu", enabled=False):  # small, and its attention is slow backward in bfloat16
            states, summary = self.text(batch.ids_BL, batch.words_BL)
        there = (~batch.cue_dropped_B).to(batch.clean.cue_NTC.dtype)
        told = sampling.Condition(
            states_BLE=states,
            summary_BE=summary,
            words_BL=batch.words_BL,
            mask_BPT=batch.clean.mask_N2T,
            cue_BTC=batch.clean.cue_NTC * there[:, None, None],
        )
        return sampling.without_text(told, batch.text_dropped_B)

    def noisy(self, x_BPTC: Tensor, batch: Batch) -> Tensor:
        """The normalised motion with the step's noise."""
        mixed: Tensor = self.scheduler.add_noise(x_BPTC, batch.noise_BPTC, batch.t_B)
        return mixed


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of each loss beside L_rec. Zero: not computed."""

    smooth: float = 0.0
    velocity: float = 0.0
    bones: float = 0.0
    feet: float = 0.0
    distances: float = 0.0
    affinity: float = 0.0
    relative: float = 0.0


COMPOSER = Weights(smooth=0.1)
"""L_I = L_rec + 0.1 L_smooth (INS)."""
JOINT = Weights(smooth=0.1, distances=0.5, affinity=0.5)
"""The one-stage generators: what INS and REC minimise about motion and about the two.

InterGen's own weights (30 velocities, 10 bones, 30 feet, 3 + 3 distances), made for far longer trainings, drown L_rec
here: R-Precision@1 0.11 and FID 16 on the interleaved data (seed 0, 550 steps).
"""
COORDINATOR = Weights(bones=10.0, feet=30.0, distances=0.5, affinity=0.5, relative=0.1)
"""L_R = L_rec + 0.5 L_dm + L_rela (weighted less: it holds back), with InterGen's losses of bones, feet and touch."""


def loss_of(predicted: Tensor, batch: Batch, net: Any, weights: Weights, latest: int = 700) -> Tensor:
    """The loss of normalised predictions (B, 2, T, 262); geometric parts count up to a step (InterGen: 700)."""
    clean, mask = batch.clean, batch.clean.mask_N2T
    target = net.normalise(clean.u_N2TC)
    total = losses.reconstruction(predicted, target, mask)
    if weights.smooth:
        total = total + weights.smooth * losses.smooth(predicted, target, mask, clean.cue_NTC)
    if weights.velocity or weights.bones or weights.feet or weights.distances or weights.affinity:
        early = mask & (batch.t_B <= latest)[:, None, None]
        u = net.restore(predicted)
        j, at = losses.joints(u), losses.joints(clean.u_N2TC)
        if weights.velocity:
            total = total + weights.velocity * losses.velocities(u, clean.u_N2TC, early)
        if weights.bones:
            total = total + weights.bones * losses.bones(j, at, early)
        if weights.feet:
            total = total + weights.feet * losses.feet(j, clean.u_N2TC, early)
        if weights.distances:
            total = total + weights.distances * losses.distance_map(j, at, early)
        if weights.affinity:
            total = total + weights.affinity * losses.affinity(j, at, early)
    return total


def denoising(weights: Weights) -> Callable[[Learner, Batch], float]:
    """The training step of a composer or a one-stage generator."""

    def backward(learner: Learner, batch: Batch) -> float:
        x = learner.noisy(learner.net.normalise(batch.clean.u_N2TC), batch)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = learner.net(x, batch.t_B, *learner.condition(batch).given)
        loss = loss_of(predicted.float(), batch, learner.net, weights)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    return backward
