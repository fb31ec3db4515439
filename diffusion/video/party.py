"""A modality's node: its clips, its autoencoder and, in plan ``owner``, its latents and scheduler. Loading of nodes.

Knows no transformer, no text, no clock and no link. The backbone's node is in ``backbone``, the messages in ``wire``.

Shapes: latents (1, F, C, H, W), clips (T, 3, H, W) in [-1, 1]. Source: AI Flow section IV-B3, figure 13.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aiflow.diffusion.files import load, schedule_hash
from aiflow.diffusion.messages import Message, decode, encode, same, shaped
from aiflow.diffusion.video.pipeline import OmniVideoPipeline
from aiflow.diffusion.video.sampling import Stepper, noise
from aiflow.diffusion.video.wire import Begin, Encode, Latents, Restore, Skip, Velocity, Video
from aiflow.errors import InputError, MessageError, suggest

REQUESTS = 16
"""Requests whose state a node keeps; the oldest is forgotten first."""


@dataclass(kw_only=True)
class Owned:
    """What a generating node holds of one request: latents before step ``step``, and the last prediction."""

    stepper: Stepper
    seed: int
    steps: int
    step: int
    x: Tensor
    prediction: tuple[Tensor, Tensor] | None = None
    extrapolated: bool = False
    replies: dict[int, bytes] = field(default_factory=dict)
    """The answer to each step's message, so that the same message gives the same bytes."""


class Modality:
    """The node of one modality. ``pipeline`` needs an autoencoder and a scheduler only."""

    def __init__(self, name: str, pipeline: OmniVideoPipeline) -> None:
        if name not in pipeline.config.modalities:
            raise InputError(
                f"{name!r} is no modality of this pipeline; {suggest(name, list(pipeline.config.modalities))}"
            )
        self.name, self.pipeline, self.model = name, pipeline, pipeline.model_hash
        self.on_step: Callable[[str, int, int], None] | None = None
        self._owned: OrderedDict[str, Owned] = OrderedDict()

    @torch.no_grad()
    def handle(self, payload: bytes) -> bytes:
        """Answers Encode, Begin, Velocity, Skip, Restore, and Latents (finished ones: by Video).

        Raises ProtocolError for what cannot be trusted (nothing changes), InputError for a clip that cannot be used.
        """
        match decode(payload, Encode, Begin, Velocity, Skip, Restore, Latents):
            case Encode() as message:
                return self._encode(message)
            case Begin() as message:
                return self._begin(message)
            case Velocity() as message:
                return self._velocity(message)
            case Skip() as message:
                return self._skip(message)
            case Restore() as message:
                return self._restore(message)
            case Latents() as message:
                return self._finished(message)
        raise AssertionError("decode knows no other class")

    def _encode(self, message: Encode) -> bytes:
        stepper = self._stepper(message.steps)
        z = self.pipeline.encode(torch.from_numpy(np.array(message.clip))[None])
        return self._latents(message.request, message.steps, "condition", 0, stepper.timestep(0), z)

    def _begin(self, message: Begin) -> bytes:
        if len(message.shape) != 4 or not 0 < int(np.prod(message.shape)) <= 2**26:
            raise MessageError(f"latents of shape {message.shape} cannot be made; (F, C, H, W) is expected.")
        channels = int(self.pipeline.vae.config.latent_channels)
        if message.shape[1] != channels:
            raise MessageError(f"latents of shape {message.shape} cannot be decoded: {channels} channels are expected.")
        known = self._owned.get(message.request)
        if known is not None and (known.seed, known.steps, list(known.x.shape[1:])) == (
            message.seed,
            message.steps,
            message.shape,
        ):
            return known.replies.get(-1) or self._again(known, -1)
        x = noise([message.seed], self.name, message.shape)
        owned = Owned(stepper=self._stepper(message.steps), seed=message.seed, steps=message.steps, step=0, x=x)
        self._keep(message.request, owned)
        owned.replies[-1] = self._state(message.request, owned)
        return owned.replies[-1]

    def _velocity(self, message: Velocity) -> bytes:
        owned = self._at(message.request, message.modality, message.step)
        same("schedule", self._schedule(owned.steps), message.schedule, of="a velocity")
        same("model", self.model, message.model, of="a velocity")
        if message.step < owned.step:
            return self._again(owned, message.step)
        v = _tensor("a velocity", message.velocity, tuple(owned.x.shape))
        owned.prediction = owned.stepper.estimate(owned.step, v, owned.x)
        owned.x = owned.stepper.step(owned.step, v, owned.x, [owned.seed])
        return self._moved(message.request, owned)

    def _skip(self, message: Skip) -> bytes:
        owned = self._at(message.request, message.modality, message.step)
        if message.step < owned.step:
            return self._again(owned, message.step)
        if owned.prediction is None:
            raise MessageError(f"{self.name} has had no velocity yet, so step {message.step} cannot be skipped.")
        owned.x = owned.stepper.extrapolate(owned.step + 1, *owned.prediction)
        owned.extrapolated = True
        return self._moved(message.request, owned)

    def _restore(self, message: Restore) -> bytes:
        if message.modality != self.name:
            raise MessageError(f"these latents are of {message.modality}, this node is {self.name}.")
        stepper = self._stepper(message.steps)
        same("schedule", self._schedule(message.steps), message.schedule, of="a snapshot")
        same("model", self.model, message.model, of="a snapshot")
        if message.step > message.steps:
            raise MessageError(f"step {message.step} of {message.steps} does not exist.")
        x = _tensor("a snapshot", message.latents, (1, None, int(self.pipeline.vae.config.latent_channels), None, None))
        owned = Owned(
            stepper=stepper, seed=message.seed, steps=message.steps, step=message.step, x=x, extrapolated=True
        )
        self._keep(message.request, owned)
        done = owned.step == owned.steps
        return self._video(message.request, x, True) if done else self._state(message.request, owned)

    def _finished(self, message: Latents) -> bytes:
        if message.modality != self.name:
            raise MessageError(f"these latents are of {message.modality}, this node is {self.name}.")
        same("model", self.model, message.model, of="latents")
        if message.timestep:
            raise MessageError(f"latents at timestep {message.timestep} are not finished and are not decoded.")
        own = float(self.pipeline.vae.config.scaling_factor)
        if message.scaling not in (0.0, own):
            raise MessageError(f"latents are scaled by {message.scaling}, this node's autoencoder scales by {own}.")
        channels = int(self.pipeline.vae.config.latent_channels)
        return self._video(
            message.request, _tensor("latents", message.latents, (1, None, channels, None, None)), message.extrapolated
        )

    def _at(self, request: str, modality: str, step: int) -> Owned:
        owned = self._owned.get(request)
        if modality != self.name:
            raise MessageError(f"a message for {modality} came to the node of {self.name}.")
        if owned is None:
            raise MessageError(f"{self.name} knows no request {request!r}; begin it, or restore it from a snapshot.")
        if step > owned.step or owned.step == owned.steps == step:
            raise MessageError(f"{self.name} is before step {owned.step} of {owned.steps}, not {step}.")
        return owned

    def _again(self, owned: Owned, step: int) -> bytes:
        if step not in owned.replies:
            raise MessageError(f"{self.name} is before step {owned.step}; what it said after step {step} is not kept.")
        return owned.replies[step]

    def _moved(self, request: str, owned: Owned) -> bytes:
        owned.step += 1
        if self.on_step:
            self.on_step(request, owned.step, owned.steps)
        done = owned.step == owned.steps
        reply = self._video(request, owned.x, owned.extrapolated) if done else self._state(request, owned)
        owned.replies = {owned.step - 1: reply}  # an older step's answer can no longer be of use
        return reply

    def _state(self, request: str, owned: Owned) -> bytes:
        t = owned.stepper.timestep(owned.step)
        return self._latents(request, owned.steps, "generate", owned.step, t, owned.x, owned.extrapolated)

    def _latents(
        self, request: str, steps: int, role: Any, step: int, timestep: int, z: Tensor, extrapolated: bool = False
    ) -> bytes:
        return encode(
            Latents(
                request=request,
                model=self.model,
                schedule=self._schedule(steps),
                modality=self.name,
                role=role,
                step=step,
                timestep=timestep,
                scaling=float(self.pipeline.vae.config.scaling_factor),
                latents=z.cpu().float().numpy(),
                extrapolated=extrapolated,
            )
        )

    def _video(self, request: str, z: Tensor, extrapolated: bool) -> bytes:
        clip = self.pipeline.decode(z)[0].cpu().float().numpy()
        return encode(
            Video(request=request, modality=self.name, clip=clip, model=self.model, extrapolated=extrapolated)
        )

    def _stepper(self, steps: int) -> Stepper:
        return Stepper(self.pipeline.scheduler, steps, self.name)

    def _schedule(self, steps: int) -> str:
        return schedule_hash(self.pipeline.scheduler, steps)

    def _keep(self, request: str, owned: Owned) -> None:
        self._owned[request] = owned
        self._owned.move_to_end(request)
        while len(self._owned) > REQUESTS:
            self._owned.popitem(last=False)


def parties(pipeline: OmniVideoPipeline) -> dict[str, Any]:
    """All five nodes of a pipeline in one process: ``backbone`` and one per modality."""
    from aiflow.diffusion.video.backbone import Backbone

    return {"backbone": Backbone(pipeline)} | {name: Modality(name, pipeline) for name in pipeline.config.modalities}


def load_party(name: str | Path, role: str) -> Any:
    """One node of a saved pipeline ("video": the one that ships), with the weights of its part only.

    Args:
        name: what `aiflow.diffusion.files.folder` reads.
        role: "backbone" or a modality.

    Raises UnknownModelError, WeightsError, InputError for another role.
    """
    from aiflow.diffusion.video.backbone import Backbone

    if role == "backbone":
        return Backbone(load(name, vae=None))
    return Modality(role, load(name, transformer=None, text_encoder=None, tokenizer=None))


def reply_of(party: Any, message: Message, *kinds: Any) -> Any:
    """Asks a party in this process: encodes, handles, decodes."""
    return decode(party.handle(encode(message)), *kinds)


def _tensor(name: str, array: NDArray[Any], shape: tuple[int | None, ...]) -> Tensor:
    return torch.from_numpy(np.array(shaped(name, array, shape), np.float32))
