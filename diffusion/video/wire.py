"""What the five nodes send each other. Only the form: knows no model, no link and no order.

Three plans (B: replies are bytes of the class after the arrow; everything is asked for, nothing is pushed):

``home``   Encode -> Latents of each condition to the backbone; Start, Advance... ; Collect -> Latents -> Video.
           One message per condition and per generated modality, whatever the number of steps.
``owner``  each generating node keeps its latents and its scheduler. Per step and modality: Latents to the backbone,
           Velocity back: 2 x (generated) x (steps) messages. The last Velocity is answered by Video.
``cfg``    two backbones compute the halves of the guidance and swap one Half each per step: 2 x (steps) messages,
           besides those of ``home``.

Control messages (Start, Advance, Collect, Snapshot and the answers Ack, State) hold no arrays.

Shapes: latents and velocities are (1, F, C, H, W), clips (T, 3, H, W) in [-1, 1].
Source: AI Flow section IV-B3, figure 13.
"""

from typing import Annotated, Literal

from pydantic import Field

from aiflow.diffusion.messages import Array, Count, Hash, Key, Message, Number, Seed

Plan = Literal["home", "owner", "cfg"]
Role = Literal["generate", "condition", "idle"]


class Bound(Message):
    """A message that is refused by a party of another model or schedule."""

    model: Hash
    schedule: Hash


class Encode(Message):
    """To a modality's node: its clip is given (a condition). Answer: Latents."""

    clip: Array
    """(T, 3, H, W) in [-1, 1]."""
    steps: Annotated[int, Field(ge=1, le=1000)]


class Begin(Message):
    """To a modality's node in plan ``owner``: it is to generate. Answer: Latents of step 0."""

    seed: Seed
    steps: Annotated[int, Field(ge=1, le=1000)]
    shape: list[Count]
    """(F, C, H, W) of its latents."""


class Latents(Bound):
    """A modality's latents before denoising step ``step``: clean in role ``condition``, and when ``step == steps``."""

    modality: Key
    role: Role
    step: Count
    timestep: Count
    layout: Literal["BFCHW"] = "BFCHW"
    scaling: Number = 0.0
    """The autoencoder's scaling factor, which is in the latents; 0: not said (the backbone has no autoencoder)."""
    latents: Array
    extrapolated: bool = False
    """Some velocity was late and was not used."""


class Velocity(Bound):
    """The backbone's guided prediction for one modality in plan ``owner``; answered by Latents, at last by Video."""

    modality: Key
    step: Count
    timestep: Count
    velocity: Array


class Skip(Message):
    """To a generating node: the velocity of this step does not come; go on by extrapolation. Answer: as to Velocity."""

    modality: Key
    step: Count


class Restore(Bound):
    """To a node that was away: its latents at a step, from Snapshot. Answer: Latents of that step; at the end Video."""

    modality: Key
    seed: Seed
    steps: Count
    step: Count
    latents: Array


class Video(Message):
    """A decoded clip (T, 3, H, W)."""

    modality: Key
    clip: Array
    model: Hash
    extrapolated: bool = False


class Start(Bound):
    """To the backbone: begin. Conditions whose Latents have not come are idle from here on. Answer: State.

    ``shape``: (F, C, H, W) of a modality's latents. ``half``: which half of the guidance this backbone computes in plan
    ``cfg``. ``staleness``: steps that a silent generating node is gone on without, until it becomes idle.
    """

    prompt: Annotated[str, Field(max_length=2000)]
    roles: dict[str, Role]
    plan: Plan = "home"
    seed: Seed = 0
    steps: Annotated[int, Field(ge=1, le=1000)] = 25
    guidance: Number = 1.5
    shape: list[Count]
    half: Literal["", "text", "empty"] = ""
    staleness: Count = 1


class Advance(Message):
    """To the backbone: do step ``step``. ``missing``: modalities, or "half" (the other backbone), not waited for.

    Answer: State; in plan ``cfg`` Half, unless the other half is missing.
    """

    step: Count
    missing: list[Key] = Field(default_factory=list)


class Half(Bound):
    """One half of the guidance at one step: a velocity for each generated modality."""

    step: Count
    half: Literal["text", "empty"]
    velocities: dict[str, Array]


class Collect(Message):
    """To the backbone: what it has for a modality before ``step``: finished Latents, or in ``owner`` the Velocity."""

    modality: Key
    step: Count


class Snapshot(Message):
    """To the backbone: what a returning node needs. Answer: Restore; the modality is generated again from here on."""

    modality: Key


class Ack(Message):
    """Latents have come. ``used``: False if they were too late for their step, and nothing was done with them."""

    modality: Key
    step: Count
    used: bool = True


class State(Message):
    """Where a backbone is: ``step`` of ``steps`` done.

    ``roles_used``: what each modality really is. ``stale``: of the generated ones, how many steps each went on without
    its node. ``alone``: steps at which this backbone computed both halves.
    """

    step: Count
    steps: Count
    roles_used: dict[str, Role]
    stale: dict[str, Count]
    alone: Count = 0


def messages(plan: Plan, given: int, generated: int, steps: int) -> int:
    """How many messages with arrays cross between nodes, for so many given and generated modalities.

    Each holds one modality's latents, but a Half those of all generated ones. In ``cfg`` conditions go to both halves.
    """
    return {
        "home": given + generated,
        "owner": given + 2 * generated * steps,
        "cfg": 2 * given + generated + 2 * steps,
    }[plan]
