"""What a training step minimises: cross entropy, and the divergence from a teacher. Knows neither family nor data.

Legend: V vocabulary, C tokens that count. Source: AI Flow, section III-B.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aiflow.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Loss = CE + ``kl`` KL(teacher || student) at temperature 1; ``mix``: (1 - ``kl``) CE + ``kl`` KL.

    HPCD weighs the two with 0.4; the paper gives neither the form nor the temperature (section III-B3).
    """

    kl: float = 0.4
    mix: bool = False

    def __post_init__(self) -> None:
        if self.kl < 0 or (self.mix and self.kl > 1):
            raise InputError(f"kl={self.kl} is not usable; give at least 0, and at most 1 with mix=True.")


def losses_of(
    logits_CV: Tensor, targets_C: Tensor, wanted_CV: Tensor | None = None, distillation: Distillation | None = None
) -> Tensor:
    """Loss of each token (C,): cross entropy, and the divergence from a teacher's log probabilities ``wanted_CV``."""
    losses_C = cross_entropy(logits_CV, targets_C)
    if wanted_CV is None or distillation is None:
        return losses_C
    if distillation.mix:
        losses_C = losses_C * (1 - distillation.kl)
    return losses_C + distillation.kl * divergence(wanted_CV, logits_CV.log_softmax(-1))


def divergence(teacher_CV: Tensor, student_CV: Tensor) -> Tensor:
    """KL(teacher || student) of log probabilities, for each token (C,)."""
    return (teacher_CV.exp() * (teacher_CV - student_CV)).sum(-1)


def cross_entropy(logits_CV: Tensor, targets_C: Tensor) -> Tensor:
    """Of each token (C,), in float32 at least."""
    return nn.functional.cross_entropy(at_least_float(logits_CV), targets_C, reduction="none")


def at_least_float(x: Tensor) -> Tensor:
    """Half-precision numbers as float32, others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def cast(like: Tensor, on: bool) -> contextlib.AbstractContextManager[Any]:
    """Bfloat16 autocast on the device of ``like``, or nothing."""
    return torch.autocast(like.device.type, dtype=torch.bfloat16) if on else contextlib.nullcontext()
