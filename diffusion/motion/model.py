"""The networks: a denoiser of motion (INS for each person alone, or both at once as the joint baseline) and REC.

All predict clean motion; they know no noise schedule, no text (its states are given) and no data.
Source: AI Flow section IV-B1; layer kinds after InterGen (AdaLN) and MDM (a transformer over frames).

Legend: B scenes, P=2 persons, T frames, K=T/4 tokens of four frames, 262 features, D width, L words, E width of the
text, C=6 time cue.
"""

import math
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from aiflow.diffusion.blocks import AdaLNBlock, positions, timestep_embedding
from aiflow.diffusion.motion.features import WIDTH

PERSONS, PATCH = 2, 4
EASED = 4
"""Frames over which REC's change comes and goes at a border with a solo segment."""
SEGMENTS = 4


class _Normalised(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Holds mean and deviation of the features; networks compute in units of them."""

    mean_C: Tensor
    std_C: Tensor

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.register_buffer("mean_C", torch.zeros(WIDTH))
        self.register_buffer("std_C", torch.ones(WIDTH))

    def set_statistics(self, mean_C: Tensor, std_C: Tensor) -> None:
        """Takes over mean and deviation (262,) of the data."""
        self.mean_C.copy_(mean_C)
        self.std_C.copy_(std_C)

    def normalise(self, u: Tensor) -> Tensor:
        """From metres (..., 262)."""
        return (u - self.mean_C) / self.std_C

    def restore(self, x: Tensor) -> Tensor:
        """To metres (..., 262)."""
        return x * self.std_C + self.mean_C


class TimeCue(nn.Module):
    """Temporal control as a vector per token: kind and number of the segment, time since its start and until its end.

    No control (an all-zero cue) adds nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kind_embedding = nn.Embedding(3, width)
        self.number_embedding = nn.Embedding(SEGMENTS, width)
        self.times = nn.Linear(8 * PATCH, width)

    def forward(self, cue_BTC: Tensor) -> Tensor:
        """(B, K, D)."""
        since, until, share, there = cue_BTC[..., 2], cue_BTC[..., 3], cue_BTC[..., 4], cue_BTC[..., 5]
        angles = [2 * math.pi * since / 16, 2 * math.pi * until / 16]
        waves = [f(a) for a in angles for f in (torch.sin, torch.cos)]
        columns = torch.stack([since / 16, until / 16, share, torch.exp(-since / 2), *waves], dim=-1)
        columns = patched(columns * there[..., None])
        first = cue_BTC[:, ::PATCH]
        kind, number = self.kind_embedding(first[..., 0].long()), self.number_embedding(first[..., 1].long())
        added: Tensor = (kind + number + self.times(columns)) * first[..., 5:]
        return added


def patched(x: Tensor) -> Tensor:
    """Tokens (..., K, PATCH * N) of frames (..., T, N), filled up with zeros."""
    x = nn.functional.pad(x, (0, 0, 0, -x.shape[-2] % PATCH))
    return x.reshape(*x.shape[:-2], x.shape[-2] // PATCH, PATCH * x.shape[-1])


def unpatched(h: Tensor, frames: int) -> Tensor:
    """Frames (..., T, N) of tokens (..., K, PATCH * N)."""
    return h.reshape(*h.shape[:-2], h.shape[-2] * PATCH, h.shape[-1] // PATCH)[..., :frames, :]


def token_mask(mask: Tensor) -> Tensor:
    """(..., K) True where a token holds a frame, from (..., T); a row without any attends to all, unread."""
    there = patched(mask[..., None].float()).amax(dim=-1) > 0
    return there | ~there.any(dim=-1, keepdim=True)


class MotionTransformer(_Normalised):
    """A clean-motion predictor. ``persons=1``: INS, each person alone with shared weights. ``persons=2``: one-stage.

    The two differ only in what a frame may attend to: the frames of its own person, or of both.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        text: int = 96,
        persons: int = 1,
        control: bool = True,
        expand: int = 2,
    ) -> None:
        super().__init__()
        self.alone = persons == 1
        self.enter = nn.Linear(PATCH * WIDTH, width)
        self.role_embedding = nn.Embedding(PERSONS, width)
        self.cue = TimeCue(width) if control else None
        self.step = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.summary = nn.Linear(text, width)
        self.blocks = nn.ModuleList(AdaLNBlock(width, heads, width, other=text, expand=expand) for _ in range(layers))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, PATCH * WIDTH))
        _zero(self.leave[1])

    def forward(
        self,
        x_BPTC: Tensor,
        t_B: Tensor,
        states_BLE: Tensor,
        summary_BE: Tensor,
        words_BL: Tensor,
        mask_BPT: Tensor,
        cue_BTC: Tensor | None = None,
    ) -> Tensor:
        """Clean normalised motion (B, 2, T, 262) from noisy one at training steps ``t_B``; masks: True is there."""
        batch, persons, frames, _ = x_BPTC.shape
        width = int(self.config["width"])
        h = self.enter(patched(x_BPTC * mask_BPT[..., None]))
        h = h + positions(h.shape[-2], width, x_BPTC.device)
        h = h + self.role_embedding.weight[None, :persons, None]
        if self.cue is not None and cue_BTC is not None:
            h = h + self.cue(cue_BTC)[:, None]
        e_BE = self.step(timestep_embedding(t_B, width)) + self.summary(summary_BE)
        there_BPK = token_mask(mask_BPT)
        mask = there_BPK.flatten(1)
        if self.alone:
            who = torch.arange(persons, device=h.device).repeat_interleave(there_BPK.shape[-1])
            own = who[:, None] == who
            mask = mask[:, None] & own
        h = h.flatten(1, 2)
        for block in self.blocks:
            h = block(h, e_BE, mask, states_BLE, words_BL)
        return unpatched(self.leave(h).view(batch, persons, -1, PATCH * WIDTH), frames)


class Coordinator(_Normalised):
    """REC: the motion of one person, given both. phi_x = M(u_x, u_y, w), phi_y = M(u_y, phi_x, w); shared weights.

    Sees, beside both motions, where the other's joints are from one's own pelvis and heading, and how far each one's
    hands are from the other's hands and shoulders. Gives a residual that begins at zero, and is zero in solo segments:
    those are each one's own. ``mutual``: both at once.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        text: int = 96,
        expand: int = 2,
        mutual: bool = False,
        composer: str = "",  # noqa: ARG002 (in the configuration: whose estimates it was trained on)
    ) -> None:
        super().__init__()
        self.mutual = mutual
        self.enter = nn.Linear(PATCH * (2 * WIDTH + GEOMETRY), width)
        self.role_embedding = nn.Embedding(PERSONS, width)
        self.finished_embedding = nn.Embedding(2, width)
        self.cue = TimeCue(width)
        self.step = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.summary = nn.Linear(text, width)
        self.blocks = nn.ModuleList(AdaLNBlock(width, heads, width, other=text, expand=expand) for _ in range(layers))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, PATCH * WIDTH))
        _zero(self.leave[1])

    def forward(
        self,
        u_BPTC: Tensor,
        noise_B: Tensor,
        states_BLE: Tensor,
        summary_BE: Tensor,
        words_BL: Tensor,
        mask_BPT: Tensor,
        cue_BTC: Tensor,
    ) -> Tensor:
        """Coordinated normalised motion (B, 2, T, 262) from normalised estimates.

        ``noise_B``: 1 + the training step at which the estimates were made, 0 for finished motion.
        """
        e_BE = self.step(timestep_embedding(noise_B, int(self.config["width"]))) + self.summary(summary_BE)
        e_BE = e_BE + self.finished_embedding((noise_B == 0).long())
        given = (e_BE, states_BLE, words_BL, cue_BTC)
        one, two = (u_BPTC * mask_BPT[..., None]).unbind(dim=1)
        if self.mutual:
            both = [torch.cat([a, b]) for a, b in ((one, two), (two, one), mask_BPT.unbind(dim=1))]
            role = torch.arange(2, device=one.device).repeat_interleave(len(one))
            doubled = tuple(torch.cat([g, g]) for g in given)
            return torch.stack(self._refine(both[0], both[1], role, both[2], *doubled).chunk(2), dim=1)
        role = torch.zeros(len(one), dtype=torch.long, device=one.device)
        phi_one = self._refine(one, two, role, mask_BPT[:, 0], *given)
        phi_two = self._refine(two, phi_one * mask_BPT[:, 0, :, None], role + 1, mask_BPT[:, 1], *given)
        return torch.stack([phi_one, phi_two], dim=1)

    def _refine(
        self,
        own_BTC: Tensor,
        other_BTC: Tensor,
        role_B: Tensor,
        mask_BT: Tensor,
        e_BE: Tensor,
        states_BLE: Tensor,
        words_BL: Tensor,
        cue_BTC: Tensor,
    ) -> Tensor:
        seen = geometry(self.restore(own_BTC), self.restore(other_BTC))
        seen = seen.to(own_BTC.dtype) * mask_BT[..., None]
        h = self.enter(patched(torch.cat([own_BTC, other_BTC, seen], dim=-1)))
        h = h + positions(h.shape[1], h.shape[2], h.device) + self.role_embedding(role_B)[:, None] + self.cue(cue_BTC)
        mask_BK = token_mask(mask_BT)
        for block in self.blocks:
            h = block(h, e_BE, mask_BK, states_BLE, words_BL)
        return own_BTC + meeting(cue_BTC)[..., None] * unpatched(self.leave(h), own_BTC.shape[1])


def meeting(cue_BTC: Tensor) -> Tensor:
    """(B, T) 1 in interactions, 0 in solo segments, eased over four frames inside where the two border."""
    kind, number, since, until, _, there = cue_BTC.unbind(dim=-1)
    last = (number * there).amax(dim=-1, keepdim=True)
    rise = torch.where(number == 0, torch.ones_like(since), ((since + 1) / EASED).clamp(0, 1))
    fall = torch.where(number == last, torch.ones_like(until), ((until + 1) / EASED).clamp(0, 1))
    weight = rise * fall * (kind == 2)
    return weight * weight * (3 - 2 * weight)


_TOUCHING = (20, 21, 16, 17)
GEOMETRY = 66 + 3 * 12
"""Numbers that `geometry` gives for a frame."""


def geometry(own_BTC: Tensor, other_BTC: Tensor) -> Tensor:
    """What one person sees of the other, from features in metres (B, T, 262) -> (B, T, 102).

    The other's joints in one's own frame (pelvis, heading), then 3 x own hands against the other's hands, own hands
    against the other's shoulders, own shoulders against the other's hands: 12 vectors.
    """
    batch, frames, _ = own_BTC.shape
    own = own_BTC[..., :66].float().view(batch, frames, 22, 3)
    other = other_BTC[..., :66].float().view(batch, frames, 22, 3)
    across = own[..., 2, :] - own[..., 1, :]
    length = across[..., [0, 2]].norm(dim=-1).clamp_min(1e-3)
    cos, sin = -across[..., 0] / length, across[..., 2] / length
    joints = _turned(other - own[..., :1, :] * own.new_tensor([1.0, 0.0, 1.0]), cos, sin)
    hands, theirs = own[..., _TOUCHING, :], other[..., _TOUCHING, :]
    gaps = [
        (theirs[..., b, None, :] - hands[..., None, a, :]).flatten(-3, -2)
        for a, b in ((slice(0, 2), slice(0, 2)), (slice(0, 2), slice(2, 4)), (slice(2, 4), slice(0, 2)))
    ]
    turned = _turned(torch.cat(gaps, dim=-2), cos, sin)
    return torch.cat([joints.flatten(-2), turned.flatten(-2)], dim=-1)


def _turned(v_BTK3: Tensor, cos_BT: Tensor, sin_BT: Tensor) -> Tensor:
    """Vectors turned about Y by minus the yaw whose cosine and sine are given."""
    c, s = cos_BT[..., None], sin_BT[..., None]
    x, y, z = v_BTK3.unbind(dim=-1)
    return torch.stack([c * x - s * z, y, s * x + c * z], dim=-1)


def _zero(layer: Any) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
