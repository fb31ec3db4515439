"""What REC learns from: scenes whose persons disagree, as the frozen composer sees them, beside the true scene.

The composer makes each person alone, so two of them disagree about what they share: where they meet, where to, how
high hands are. Such disagreement is put into true scenes (`disagreeing`), into person two alone: person one's motion
stands and person two accommodates it, as in the paper's order (phi_x, then phi_y given phi_x). Were both to give way,
they would meet in the middle, and meetings would be less varied than real ones. Half of the batches are seen at any
noise (for REC in every step), half at little noise (finished motions). This is our own choice; the paper does not say.
Knows no stages.

Legend: B scenes, P=2 persons, T frames, S=4 segments, C=262 features.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from aiflow.diffusion.motion import learning, losses, sampling
from aiflow.diffusion.motion.learning import Batch, Corpus, Learner, Weights
from aiflow.diffusion.motion.model import SEGMENTS

FINISHED = 0.5
"""Share of batches with finished motions."""
LITTLE = 400
"""Noise (training steps) up to which the composer sees what counts as finished."""
WALKED, TURNED, REACHED = 0.5, 0.2, 0.17
"""Standard deviations of the disagreement about place (m), heading (rad) and hands (m)."""
APPROACH = 7
"""Frames in which people walk to where they meet."""


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """A batch with the composer's estimates (normalised) and their noise levels."""

    batch: Batch
    estimate_BPTC: Tensor
    noise_B: Tensor
    condition: sampling.Condition

    @property
    def tokens(self) -> int:
        """Frames of persons."""
        return self.batch.tokens


def coordinator_data(learner: Learner, corpus: Corpus, seed: int) -> Callable[[int], Iterator[Estimates]]:
    """Batches of estimates, the same for the same step."""

    def data(step: int) -> Iterator[Estimates]:
        while True:
            batch = corpus.draw(seed + 7919, step)
            g = torch.Generator().manual_seed(seed * 7_000_003 + step)
            finished = bool(torch.rand((), generator=g) < FINISHED)
            yield estimates(learner, batch, finished, seed * 9_000_011 + step)
            step += 1

    return data


@torch.no_grad()
def estimates(learner: Learner, batch: Batch, finished: bool, seed: int = 0) -> Estimates:
    """What the composer makes of a batch whose persons disagree: its clean prediction at the batch's noise."""
    g = torch.Generator().manual_seed(seed)
    if finished:
        batch = replace(batch, t_B=batch.t_B * LITTLE // 1000)
    apart = disagreeing(batch.clean.u_N2TC, batch.clean.cue_NTC, g)
    x = learner.noisy(learner.net.normalise(apart), batch)
    with torch.autocast("cpu", torch.bfloat16):
        condition = learner.condition(batch)
        guess = learner.net(x, batch.t_B, *condition.given).float()
    noise_B = torch.zeros_like(batch.t_B) if finished else batch.t_B + 1
    guess = guess * condition.mask_BPT[..., None]
    return Estimates(batch=batch, estimate_BPTC=guess, noise_B=noise_B, condition=condition)


def disagreeing(u_BPTC: Tensor, cue_BTC: Tensor, g: torch.Generator) -> Tensor:
    """Scenes (B, 2, T, 262) in which person two walks to another place, turns otherwise and reaches elsewhere.

    Nothing changes before the first interaction; the place and heading that person two came to last.
    """
    batch, frames = u_BPTC.shape[0], u_BPTC.shape[2]
    j = u_BPTC[..., :66].view(batch, 2, frames, 22, 3)
    since, until, number = cue_BTC[..., None, 2], cue_BTC[..., None, 3], cue_BTC[..., None, 1]
    segment = torch.arange(SEGMENTS)
    inside = (number == segment) & (cue_BTC[..., None, 0] == 2)
    was = ((cue_BTC[:, :, None, 0] == 2) & (number == segment)).any(dim=1, keepdim=True) & (number > segment)
    came_BTS = torch.where(inside, _smooth(since / APPROACH), was.float())
    out_BTS = torch.where(inside, _smooth((since - 3) / 5) * _smooth(until / 4), torch.zeros(()))
    strength = torch.rand(batch, 1, 1, 1, generator=g) * torch.tensor([0.0, 1.0])[:, None, None]
    walked = WALKED * torch.randn(batch, 2, SEGMENTS, 3, generator=g) * strength * torch.tensor([1.0, 0.0, 1.0])
    turned = TURNED * torch.randn(batch, 2, SEGMENTS, generator=g) * strength[..., 0]
    reached = REACHED * torch.randn(batch, 2, SEGMENTS, 2, 3, generator=g) * strength[..., None]
    angle = torch.einsum("bts,bps->bpt", came_BTS, turned)[..., None]
    root = j[..., :1, :]
    x, y, z = (j - root).unbind(dim=-1)
    spun = torch.stack([angle.cos() * x + angle.sin() * z, y, angle.cos() * z - angle.sin() * x], dim=-1)
    new = root + spun + torch.einsum("bts,bpsk->bptk", came_BTS, walked)[..., None, :]
    hands = torch.einsum("bts,bpshk->bpthk", out_BTS, reached)
    new[..., 20:22, :] += hands
    new[..., 18:20, :] += hands / 2
    change = (new - j).flatten(-2)
    apart = u_BPTC.clone()
    apart[..., :66] += change
    apart[:, :, :-1, 66:132] += change[:, :, 1:] - change[:, :, :-1]
    return apart


def _smooth(share: Tensor) -> Tensor:
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)


def coordinator_step(weights: Weights) -> Callable[[Any, Estimates], float]:
    """The training step of REC: L_rec and the weighted losses, at every noise level."""

    def backward(rec: Any, given: Estimates) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            phi = rec(given.estimate_BPTC, given.noise_B, *given.condition.given)
        batch, phi = given.batch, phi.float()
        loss = learning.loss_of(phi, batch, rec, weights, latest=1000)
        if weights.relative:
            kept, mask = given.estimate_BPTC[:, 1], given.condition.mask_BPT[:, 1]
            loss = loss + weights.relative * losses.relative(phi[:, 1], kept, mask)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    return backward
