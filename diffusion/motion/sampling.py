"""The steps that pipeline, parties and training share: text states, guidance, one denoising step. Batches of scenes.

Knows no messages and no data set. Source: AI Flow section IV-B1; DDIM over clean predictions, as InterGen samples.

Legend: B scenes, P=2 persons, T frames, L words, E text width, C=262 features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from aiflow.diffusion.motion.features import WIDTH
from aiflow.diffusion.words import tokens


def ddim() -> Any:
    """The schedule that ships: 1000 cosine steps, clean predictions."""
    return DDIMScheduler(  # type: ignore[no-untyped-call]
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False, timestep_spacing="trailing"
    )


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a network is told beside the motion."""

    states_BLE: Tensor
    summary_BE: Tensor
    words_BL: Tensor
    mask_BPT: Tensor
    cue_BTC: Tensor | None

    @property
    def given(self) -> tuple[Any, ...]:
        """As the networks' arguments."""
        return self.states_BLE, self.summary_BE, self.words_BL, self.mask_BPT, self.cue_BTC


def read(text_encoder: Any, tokenizer: Any, prompts: Sequence[str], mask_BPT: Tensor, cue_BTC: Tensor) -> Condition:
    """The condition of prompts. Raises InputError for a text that cannot be read."""
    ids_BL, words_BL = tokens(tokenizer, prompts)
    states_BLE, summary_BE = text_encoder(ids_BL, words_BL)
    return Condition(
        states_BLE=states_BLE, summary_BE=summary_BE, words_BL=words_BL, mask_BPT=mask_BPT, cue_BTC=cue_BTC
    )


def without_text(condition: Condition, dropped_B: Tensor | None = None) -> Condition:
    """The same without the text (of the scenes where ``dropped_B`` is True): zero states, of which one is attended."""
    dropped = dropped_B if dropped_B is not None else torch.ones(len(condition.words_BL), dtype=torch.bool)
    kept = (~dropped).to(condition.states_BLE.dtype)
    first = torch.arange(condition.words_BL.shape[1])[None] == 0
    return Condition(
        states_BLE=condition.states_BLE * kept[:, None, None],
        summary_BE=condition.summary_BE * kept[:, None],
        words_BL=torch.where(dropped[:, None], first, condition.words_BL),
        mask_BPT=condition.mask_BPT,
        cue_BTC=condition.cue_BTC,
    )


def estimate(net: Any, x_BPTC: Tensor, t: int, condition: Condition, guidance: float) -> Tensor:
    """The clean normalised estimate, with classifier-free guidance (1: none). Zero where there is no frame."""
    t_B = torch.full((len(x_BPTC),), t, dtype=torch.long)
    clean: Tensor = net(x_BPTC, t_B, *condition.given)
    if guidance != 1:
        free: Tensor = net(x_BPTC, t_B, *without_text(condition).given)
        clean = free + guidance * (clean - free)
    return clean * condition.mask_BPT[..., None]


def refined(rec: Any, u_BPTC: Tensor, noise: int, condition: Condition) -> Tensor:
    """Coordinated estimates, in metres as they came. ``noise``: 1 + training step of the estimate, 0: finished."""
    noise_B = torch.full((len(u_BPTC),), noise, dtype=torch.long)
    out: Tensor = rec.restore(rec(rec.normalise(u_BPTC), noise_B, *condition.given))
    return out * condition.mask_BPT[..., None]


def noise(batch: int, frames: int, seed: int | None = None, generator: torch.Generator | None = None) -> Tensor:
    """Where sampling begins (B, 2, T, 262): from a generator, or from a seed."""
    if generator is None:
        generator = torch.Generator().manual_seed(seed or 0)
    return torch.randn(batch, 2, frames, WIDTH, generator=generator)
