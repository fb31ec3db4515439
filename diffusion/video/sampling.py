"""One step of sampling, and what makes it the same wherever it is done. Knows no pipeline and no message.

All noise is drawn from (seed, modality) or (seed, modality, step), so any node can draw it again. Each modality is
stepped by a scheduler of its own; what is given (a condition) is never stepped.

Shapes: latents and velocities (B, F, C, H, W), text (B, L, E). Source: AI Flow section IV-B3.
"""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from diffusers import CogVideoXDDIMScheduler
from torch import Tensor

from aiflow.diffusion.video.model import ROLES, OmniTransformer3D
from aiflow.errors import InputError, UnsupportedModelError, suggest

STEPS, GUIDANCE = 25, 1.5


def default_scheduler() -> CogVideoXDDIMScheduler:
    """v-prediction with zero terminal signal-to-noise ratio and trailing steps, deterministic."""
    return CogVideoXDDIMScheduler(  # type: ignore[no-untyped-call]
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        snr_shift_scale=1.0,
        set_alpha_to_one=True,
    )


def generator(seed: int, modality: str, step: int | None = None) -> torch.Generator:
    """The random numbers of a modality (at a step), the same on every machine."""
    said = f"{seed}/{modality}/{'' if step is None else step}"
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "little") >> 1)


def noise(seeds: Sequence[int], modality: str, shape: Sequence[int]) -> Tensor:
    """What sampling starts from: (B, F, C, H, W) for B seeds and ``shape`` (F, C, H, W)."""
    return torch.stack([torch.randn(tuple(shape), generator=generator(seed, modality)) for seed in seeds])


class Stepper:
    """A copy of a scheduler for one modality: a step, and what to do without a prediction.

    Raises InputError for a number of steps it does not have, UnsupportedModelError for a scheduler without alphas.
    """

    def __init__(self, scheduler: Any, steps: int, modality: str) -> None:
        if not hasattr(scheduler, "alphas_cumprod") or scheduler.config.prediction_type != "v_prediction":
            raise UnsupportedModelError(
                f"{type(scheduler).__name__} cannot step this model: it must predict v and have alphas_cumprod, like "
                "CogVideoXDDIMScheduler."
            )
        if not 1 <= steps <= int(scheduler.config.num_train_timesteps):
            raise InputError(f"{steps} steps are not possible; take 1 to {scheduler.config.num_train_timesteps}.")
        self.scheduler, self.modality = deepcopy(scheduler), modality
        self.scheduler.set_timesteps(steps)
        self.timesteps = [int(t) for t in self.scheduler.timesteps]
        self._old: Tensor | None = None
        self._takes_old = "old_pred_original_sample" in inspect.signature(scheduler.step).parameters

    def step(self, k: int, v: Tensor, x: Tensor, seeds: Sequence[int]) -> Tensor:
        """The latents after step ``k``."""
        t = self.timesteps[k]
        rngs = [generator(seed, self.modality, k) for seed in seeds]
        if self._takes_old:
            back = self.timesteps[k - 1] if k else None
            after, self._old = self.scheduler.step(v, self._old, t, back, x, generator=rngs, return_dict=False)
            return torch.as_tensor(after)
        if "generator" in inspect.signature(self.scheduler.step).parameters:
            return torch.as_tensor(self.scheduler.step(v, t, x, generator=rngs, return_dict=False)[0])
        return torch.as_tensor(self.scheduler.step(v, t, x, return_dict=False)[0])

    def timestep(self, k: int) -> int:
        """The training timestep of step ``k``; 0 when all are done."""
        return self.timesteps[k] if k < len(self.timesteps) else 0

    def estimate(self, k: int, v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(x0, noise) that a prediction at step ``k`` says."""
        abar = self._abar(k)
        return abar.sqrt() * x - (1 - abar).sqrt() * v, abar.sqrt() * v + (1 - abar).sqrt() * x

    def extrapolate(self, k: int, x0: Tensor, eps: Tensor) -> Tensor:
        """The latents before step ``k`` if the prediction (x0, eps) still holds: DDIM, if it was made a step before.

        (To rounding if the steps divide the training steps; else a scheduler rounds its timesteps differently.)
        """
        abar = self._abar(k)
        return abar.sqrt() * x0 + (1 - abar).sqrt() * eps

    def _abar(self, k: int) -> Tensor:
        if k < len(self.timesteps):
            return torch.as_tensor(self.scheduler.alphas_cumprod[self.timesteps[k]])
        return torch.as_tensor(getattr(self.scheduler, "final_alpha_cumprod", 1.0))


class Run:
    """One sampling: what each modality is, where its latents are, and how they go on.

    ``x`` holds conditions (clean) and generated latents; ``roles`` may change between steps.
    """

    def __init__(
        self,
        transformer: OmniTransformer3D,
        scheduler: Any,
        *,
        roles: Mapping[str, str],
        x: Mapping[str, Tensor],
        text: tuple[Tensor, Tensor],
        steps: int,
        guidance: float,
        seeds: Sequence[int],
    ) -> None:
        self.transformer, self.roles, self.x = transformer, dict(roles), dict(x)
        self.text, self.guidance, self.seeds = text, guidance, list(seeds)
        self.steppers = {name: Stepper(scheduler, steps, name) for name in transformer.modalities}

    @property
    def generated(self) -> list[str]:
        """Modalities that are being made."""
        return [name for name, role in self.roles.items() if role == "generate"]

    def velocities(self, k: int) -> dict[str, Tensor]:
        """Guided predictions of step ``k``; both halves in one pass."""
        if self.guidance == 1:
            return self._predict(k, self.text[0])
        both = self._predict(k, torch.cat(self.text))
        halves = {name: v.chunk(2) for name, v in both.items()}
        return {name: guided(text, empty, self.guidance) for name, (text, empty) in halves.items()}

    def half(self, k: int, which: str) -> dict[str, Tensor]:
        """Predictions with the text ("text") or without it ("empty")."""
        return self._predict(k, self.text[0 if which == "text" else 1])

    def step(self, k: int, velocities: Mapping[str, Tensor]) -> None:
        """Moves the generated modalities one step on."""
        for name in self.generated:
            self.x[name] = self.steppers[name].step(k, velocities[name], self.x[name], self.seeds)

    def _predict(self, k: int, text: Tensor) -> dict[str, Tensor]:
        names = self.transformer.modalities
        like = next(iter(self.x.values()))
        parts = [self.x[name] if self.roles[name] != "idle" else torch.zeros_like(like) for name in names]
        x = torch.cat(parts, dim=2)
        times = text.shape[0] // x.shape[0]
        roles = torch.tensor([[ROLES.index(self.roles[name]) for name in names]], device=x.device)
        t = torch.full((text.shape[0],), self.steppers[names[0]].timesteps[k], device=x.device)
        out = self.transformer(x.repeat(times, 1, 1, 1, 1), text, t, roles.expand(text.shape[0], -1), return_dict=False)
        split = out[0].float().split(self.transformer.channels, dim=2)
        return {name: v for name, v in zip(names, split, strict=True) if self.roles[name] == "generate"}


def guided(text: Tensor, empty: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance."""
    return empty + guidance * (text - empty)


def checked_roles(roles: Mapping[str, str], modalities: Sequence[str], outputs: Sequence[str]) -> dict[str, str]:
    """The role of every modality, in the model's order; those not named are generated (or idle without a head).

    Raises InputError for an unknown modality or role, for one that cannot be generated, and if all are idle.
    """
    for name, role in roles.items():
        if name not in modalities:
            raise InputError(f"{name!r} is no modality of this model; {suggest(str(name), list(modalities))}")
        if role not in ROLES:
            raise InputError(f"{role!r} is no role of a modality; {suggest(str(role), list(ROLES))}")
        if role == "generate" and name not in outputs:
            raise InputError(f"this model has no head for {name!r}; it generates {', '.join(outputs)}.")
    full = {name: roles.get(name, "generate" if name in outputs else "idle") for name in modalities}
    if all(role == "idle" for role in full.values()):
        raise InputError("every modality is idle; let at least one be generated.")
    return full
