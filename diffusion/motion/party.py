"""The two parties of the serial collaboration: a composer (INS) and a refiner (REC), which see only messages.

Knows no clock, no link and no other party. Both are stateless: a message carries all that its answer needs, so the
same message twice gives the same bytes, and a replica can go on where a dead party stopped.

    Compose -> [Composer] -> Estimate -> [Refiner] -> Refined -> [Composer] -> Estimate | Motion

``refine="none"``: Compose is answered by Motion. ``"post"``: one Estimate, the finished motion, crosses. ``"loop"``:
one Estimate for each denoising step. Source: AI Flow section IV-B1.

Legend: T frames, 262 features of a person and frame (`features`).
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from aiflow.diffusion.files import fingerprint, schedule_hash
from aiflow.diffusion.messages import Array, Count, Hash, Message, Number, Seed, decode, encode, same, shaped
from aiflow.diffusion.motion import data, sampling
from aiflow.diffusion.motion.features import WIDTH
from aiflow.errors import InputError, MessageError

Kinds = list[Literal["solo", "interaction"]]
Refine = Literal["none", "post", "loop"]


class Compose(Message):
    """What is to be made. The first segment starts at frame 0; each lasts until the next one's start."""

    prompt: Annotated[str, Field(max_length=2000)]
    kinds: Kinds
    starts: list[Count]
    frames: Count
    seed: Seed = 0
    steps: Count = 20
    guidance: Number = 2.5
    refine: Refine = "post"


class Estimate(Compose):
    """The composer's clean estimate for the refiner, in metres; with ``last`` it is the finished motion."""

    step: Count
    """Denoising steps done before this estimate."""
    last: bool
    noise: Count
    """1 + the training step at which the estimate was made; 0 for a finished motion."""
    u_hat: Array
    """(2, T, 262) float32."""
    noisy: Array
    """The sampler's state, echoed by the refiner: (2, T, 262) float32; (0, T, 262) when ``last``."""
    model: Hash
    schedule: Hash


class Refined(Compose):
    """The refiner's answer to an Estimate."""

    step: Count
    last: bool
    u_hat: Array
    """(2, T, 262) float32, coordinated."""
    noisy: Array
    model: Hash
    """The composer's, echoed."""
    refiner: Hash
    schedule: Hash


class Motion(Message):
    """The result."""

    u: Array
    """(2, T, 262) float32."""
    frames: Count
    refine: Refine
    """How REC took part; "none": INS alone."""
    model: Hash
    refiner: Hash


OnStep = Callable[[str, int, int], None]
"""Called with request, steps done, steps."""


class Composer:
    """Holds INS, the text encoder and the schedule. Answers Compose and Refined."""

    def __init__(self, ins: Any, text_encoder: Any, tokenizer: Any, scheduler: Any) -> None:
        self.ins, self.text_encoder, self.tokenizer, self.scheduler = ins, text_encoder, tokenizer, scheduler
        self.model = fingerprint(ins, text_encoder)
        self.on_step: OnStep | None = None

    def schedule(self, steps: int) -> str:
        """The hash of the schedule at so many steps."""
        return schedule_hash(self.scheduler, steps)

    @torch.no_grad()
    def handle(self, payload: bytes) -> bytes:
        """Compose -> Estimate or Motion; Refined -> the next Estimate, or Motion.

        Raises InputError for a request that cannot be done, ProtocolError for bytes not to be trusted.
        """
        message = decode(payload, Compose, Refined)
        told = _condition(message, self.text_encoder, self.tokenizer)
        _check(message, self.scheduler)
        self.scheduler.set_timesteps(message.steps)
        if isinstance(message, Refined):
            return encode(self._go_on(message, told))
        x = sampling.noise(1, message.frames, message.seed)
        if message.refine == "loop":
            return encode(self._estimate(message, x, 0, told))
        for step in range(message.steps):
            t = self.scheduler.timesteps[step]
            guess = sampling.estimate(self.ins, x, int(t), told, message.guidance)
            x = self.scheduler.step(guess, t, x).prev_sample
            self._tell(message, step + 1)
        u_hat = self.ins.restore(x) * told.mask_BPT[..., None]
        if message.refine == "none":
            return encode(self._motion(message, u_hat, ""))
        return encode(self._packed(message, u_hat, x[:, :0], message.steps, 0))

    def _go_on(self, message: Refined, told: sampling.Condition) -> Message:
        same("model", self.model, message.model, of="the refined estimate")
        same("schedule", self.schedule(message.steps), message.schedule, of="the refined estimate")
        u_hat = _motion_array("u_hat", message.u_hat, message.frames)
        if message.last:
            return self._motion(message, u_hat, message.refiner)
        x = _motion_array("noisy", message.noisy, message.frames)
        if message.step >= message.steps or message.refine != "loop":
            raise MessageError(f"step {message.step} of {message.steps} cannot be refined in mode {message.refine!r}.")
        x = self.scheduler.step(self.ins.normalise(u_hat), self.scheduler.timesteps[message.step], x).prev_sample
        self._tell(message, message.step + 1)
        if message.step + 1 < message.steps:
            return self._estimate(message, x, message.step + 1, told)
        return self._motion(message, self.ins.restore(x) * told.mask_BPT[..., None], message.refiner)

    def _estimate(self, message: Compose, x: Tensor, step: int, told: sampling.Condition) -> Estimate:
        t = int(self.scheduler.timesteps[step])
        guess = sampling.estimate(self.ins, x, t, told, message.guidance)
        return self._packed(message, self.ins.restore(guess) * told.mask_BPT[..., None], x, step, t + 1)

    def _packed(self, message: Compose, u_hat: Tensor, x: Tensor, step: int, noise: int) -> Estimate:
        return Estimate(
            **_asked(message),
            step=step,
            last=noise == 0,
            noise=noise,
            u_hat=u_hat[0].numpy(),
            noisy=x[0].numpy(),
            model=self.model,
            schedule=self.schedule(message.steps),
        )

    def _motion(self, message: Compose, u: Tensor, refiner: str) -> Motion:
        return Motion(
            request=message.request,
            u=u[0].numpy(),
            frames=message.frames,
            refine=message.refine,
            model=self.model,
            refiner=refiner,
        )

    def _tell(self, message: Compose, done: int) -> None:
        if self.on_step is not None:
            self.on_step(message.request, done, message.steps)


class Refiner:
    """Holds REC, the text encoder and the schedule's options. Answers Estimate.

    Raises MessageError for estimates of another composer or schedule than REC was trained with.
    """

    def __init__(self, rec: Any, text_encoder: Any, tokenizer: Any, scheduler: Any) -> None:
        self.rec, self.text_encoder, self.tokenizer, self.scheduler = rec, text_encoder, tokenizer, scheduler
        self.model = fingerprint(rec)
        self.on_step: OnStep | None = None

    @torch.no_grad()
    def handle(self, payload: bytes) -> bytes:
        """Estimate -> Refined. Raises ProtocolError."""
        message = decode(payload, Estimate)
        if self.rec.config["composer"]:
            same("model", self.rec.config["composer"], message.model, of="the estimate")
        _check(message, self.scheduler)
        same("schedule", schedule_hash(self.scheduler, message.steps), message.schedule, of="the estimate")
        if message.noise > self.scheduler.config.num_train_timesteps or message.last != (message.noise == 0):
            raise MessageError(f"the estimate has the noise level {message.noise}, which this schedule has not.")
        u_hat = _motion_array("u_hat", message.u_hat, message.frames)
        try:
            told = _condition(message, self.text_encoder, self.tokenizer)
        except InputError as error:  # the composer would have refused it
            raise MessageError(f"the estimate is of a request that cannot be: {error}") from error
        phi = sampling.refined(self.rec, u_hat, message.noise, told)
        if self.on_step is not None:
            self.on_step(message.request, message.step + (not message.last), message.steps)
        return encode(
            Refined(
                **_asked(message),
                step=message.step,
                last=message.last,
                u_hat=phi[0].numpy(),
                noisy=message.noisy,
                model=message.model,
                refiner=self.model,
                schedule=message.schedule,
            )
        )


def _asked(message: Compose) -> dict[str, Any]:
    """The fields of a Compose."""
    return {name: getattr(message, name) for name in Compose.model_fields}


def _condition(message: Compose, text_encoder: Any, tokenizer: Any) -> sampling.Condition:
    kinds, starts = data.check_segments(list(zip(message.kinds, message.starts, strict=False)), message.frames)
    if len(message.kinds) != len(message.starts):
        raise InputError(f"{len(message.kinds)} kinds of segments need as many starts, got {len(message.starts)}.")
    mask = torch.ones(1, 2, message.frames, dtype=torch.bool)
    return sampling.read(
        text_encoder, tokenizer, [message.prompt], mask, data.cue(kinds, starts, message.frames, message.frames)[None]
    )


def _check(message: Compose, scheduler: Any) -> None:
    most = scheduler.config.num_train_timesteps
    if not 1 <= message.steps <= most:
        raise InputError(f"a motion takes 1 to {most} denoising steps, not {message.steps}.")
    if not 0 <= message.guidance <= 20:
        raise InputError(f"the guidance is 0 to 20, not {message.guidance}.")


def _motion_array(name: str, array: np.ndarray[Any, Any], frames: int) -> Tensor:
    """(1, 2, T, 262). Raises MessageError."""
    if shaped(name, array, (2, frames, WIDTH)).dtype != np.float32:
        raise MessageError(f"{name} has the type {array.dtype}, expected float32.")
    return torch.from_numpy(array.copy())[None]
