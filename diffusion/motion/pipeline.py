"""INS -> REC as a diffusers pipeline: text and segments in, the motion of two people out.

Any component may be missing: without REC the composer stands alone; without INS, motions that are given are refined.
Knows no messages (`party`) and no training. Source: AI Flow section IV-B1.

Legend: B scenes, P=2 persons, T frames, J=22 joints, 262 features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from numpy.typing import NDArray
from torch import Tensor

from aiflow.diffusion.files import fingerprint
from aiflow.diffusion.motion import data, sampling
from aiflow.diffusion.motion.features import WIDTH
from aiflow.diffusion.motion.model import Coordinator, MotionTransformer
from aiflow.diffusion.motion.scene import FRAMES
from aiflow.diffusion.words import WordEncoder
from aiflow.errors import InputError

CLASSES = (MotionTransformer, Coordinator, WordEncoder)
"""What a saved pipeline may hold: diffusers loads only classes of modules that are imported already."""
RecMode = Literal["post", "loop"]
Segments = Sequence[tuple[str, int]]


@dataclass
class MotionOutput(BaseOutput):
    """What was made and what made it.

    motions: (B, 2, T, 262) features in metres (a tensor), or the joints (B, 2, T, 22, 3) (numpy), zero after a clip's
    own ``frames``. made_by: mode, steps, guidance and the fingerprints of the networks.
    """

    motions: Tensor | NDArray[np.float32]
    frames: list[int]
    made_by: dict[str, Any]


class InterleavedMotionPipeline(DiffusionPipeline):
    """Composes two persons' motion (INS) and coordinates them (REC), after sampling or in every step of it."""

    model_cpu_offload_seq = "text_encoder->ins->rec"  # type: ignore[assignment]
    _optional_components = ["ins", "rec"]  # noqa: RUF012
    _callback_tensor_inputs = ["latents", "estimate"]  # noqa: RUF012

    def __init__(self, ins: Any, rec: Any, text_encoder: Any, tokenizer: Any, scheduler: Any, fps: int = 10) -> None:
        super().__init__()
        self.register_modules(ins=ins, rec=rec, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler)  # type: ignore[no-untyped-call]
        self.register_to_config(fps=fps)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        segments: Segments | Sequence[Segments],
        frames: int | Sequence[int] = FRAMES,
        *,
        rec_mode: RecMode | None = "post",
        num_inference_steps: int = 20,
        guidance_scale: float = 2.5,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        motions: Tensor | None = None,
        output_type: Literal["latent", "joints"] = "joints",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Any] | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> MotionOutput | tuple[Any]:
        """Makes one scene for each prompt.

        Args:
            prompt: what happens, or a list of such.
            segments: ``("solo" | "interaction", first frame)`` in order, for all prompts or a list for each.
            frames: length of a clip, 16 to 48; one for all or one for each.
            rec_mode: "post": REC once, after sampling; "loop": REC on the estimate of every step; None: INS alone.
            num_inference_steps: denoising steps.
            guidance_scale: weight of the text (1: no guidance).
            generator: of the noise; the same one gives the same motion.
            latents: the noise itself (B, 2, T, 262), instead.
            motions: finished motions (B, 2, T, 262) in metres for REC alone; nothing is sampled.
            output_type: "latent": features; "joints": positions.
            return_dict: a MotionOutput, or the motions in a tuple.
            callback_on_step_end: called as ``(pipeline, step, timestep, tensors)``; may replace ``latents``.
            callback_on_step_end_tensor_inputs: which of "latents", "estimate" (normalised) it gets.

        Raises InputError for what cannot be read or done.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        clip, cue_BTC, mask_BPT = _plan(segments, frames, len(prompts))
        self._check(rec_mode, num_inference_steps, guidance_scale, output_type, motions)
        told = sampling.read(self.text_encoder, self.tokenizer, prompts, mask_BPT, cue_BTC)
        if motions is None:
            x = latents if latents is not None else sampling.noise(len(prompts), mask_BPT.shape[-1], None, generator)
            _shaped(x, mask_BPT)
            asked = (callback_on_step_end, callback_on_step_end_tensor_inputs)
            x = self._sample(x, told, num_inference_steps, guidance_scale, rec_mode == "loop", *asked)
            u = self.ins.restore(x) * mask_BPT[..., None]
        else:
            u = _shaped(motions, mask_BPT) * mask_BPT[..., None]
        if rec_mode == "post":
            u = sampling.refined(self.rec, u, 0, told)
        self.maybe_free_model_hooks()  # type: ignore[no-untyped-call]
        made = u if output_type == "latent" else u[..., :66].unflatten(-1, (22, 3)).numpy()
        if not return_dict:
            return (made,)
        facts: dict[str, Any] = {"rec_mode": rec_mode, "steps": num_inference_steps, "guidance": guidance_scale}
        facts |= {name: fingerprint(net) for name, net in (("ins", self.ins), ("rec", self.rec)) if net is not None}
        return MotionOutput(motions=made, frames=clip, made_by=facts)

    def _sample(
        self,
        x: Tensor,
        told: sampling.Condition,
        steps: int,
        guidance: float,
        loop: bool,
        callback: Callable[..., dict[str, Any] | None] | None,
        wanted: Sequence[str],
    ) -> Tensor:
        self.scheduler.set_timesteps(steps)
        for step, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            estimate = sampling.estimate(self.ins, x, int(t), told, guidance)
            if loop:
                u_hat = self.ins.restore(estimate) * told.mask_BPT[..., None]
                estimate = self.ins.normalise(sampling.refined(self.rec, u_hat, int(t) + 1, told))
            x = self.scheduler.step(estimate, t, x).prev_sample
            if callback is not None:
                there = {"latents": x, "estimate": estimate}
                x = (callback(self, step, t, {name: there[name] for name in wanted}) or {}).get("latents", x)
        return x

    def _check(self, rec_mode: Any, steps: int, guidance: float, output_type: str, motions: Any) -> None:
        if rec_mode not in (None, "post", "loop"):
            raise InputError(f"rec_mode is 'post', 'loop' or None, not {rec_mode!r}.")
        if rec_mode is not None and self.rec is None:
            raise InputError(f"rec_mode {rec_mode!r} needs the coordinator; load `rec`, or use rec_mode=None.")
        if motions is None and self.ins is None:
            raise InputError("without the composer there is nothing to sample from; load `ins`, or give `motions`.")
        if motions is not None and rec_mode != "post":
            raise InputError("`motions` are refined with rec_mode='post' only.")
        if not 1 <= steps <= self.scheduler.config.num_train_timesteps:
            raise InputError(f"num_inference_steps is 1 to {self.scheduler.config.num_train_timesteps}, not {steps}.")
        if not 0 <= guidance <= 20:
            raise InputError(f"guidance_scale is 0 to 20, not {guidance}.")
        if output_type not in ("latent", "joints"):
            raise InputError(f"output_type is 'latent' or 'joints', not {output_type!r}.")


def _shaped(x: Tensor, mask_BPT: Tensor) -> Tensor:
    wanted = (*mask_BPT.shape, WIDTH)
    if tuple(x.shape) != wanted or not torch.isfinite(x).all():
        raise InputError(f"latents and motions are finite numbers of the shape {wanted}, got {tuple(x.shape)}.")
    return x


def _plan(segments: Any, frames: int | Sequence[int], batch: int) -> tuple[list[int], Tensor, Tensor]:
    """Lengths, time cue (B, T, 6) and mask (B, 2, T), padded to the longest clip. Raises InputError."""
    lengths = [frames] * batch if isinstance(frames, int) else list(frames)
    try:
        one = bool(segments) and isinstance(segments[0][0], str)
        plans = [list(segments)] * batch if one else [list(each) for each in segments]
        checked = [data.check_segments([(k, s) for k, s in plan], n) for plan, n in zip(plans, lengths, strict=True)]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"segments are pairs like ('solo', 0), one list for all or one for each of {batch} prompts: {segments!r}."
        ) from error
    if not checked or len(checked) != batch:
        raise InputError(f"{batch} prompts need as many plans and lengths, got {len(checked)}.")
    longest = max(lengths)
    cues = [data.cue(kinds, starts, n, longest) for (kinds, starts), n in zip(checked, lengths, strict=True)]
    there = torch.arange(longest)[None, None] < torch.tensor(lengths)[:, None, None]
    return lengths, torch.stack(cues), there.expand(-1, 2, -1)
