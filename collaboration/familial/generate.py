"""Answers of a family whose tokens may leave at different exits: at the first one that is sure enough.

An exit that was not sure costs its branch; the blocks it ran are used by the next one. What later exits have not seen
is worked off when they are asked (`session`), so the full model's tokens are exactly the full model's.
Source: AI Flow, section III-A2.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.session import Session
from aiflow.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Generated:
    """``ids``: the new tokens; ``members``: who said each one; ``confidences``: the probability it gave it."""

    ids: tuple[int, ...]
    members: tuple[Member, ...]
    confidences: tuple[float, ...]


@torch.inference_mode()
def generate(
    family: Family,
    ids: Sequence[int],
    *,
    members: Sequence[Member],
    threshold: float = 0.9,
    limit: int = 64,
    stop: Collection[int] = (),
    pixel_values: Tensor | None = None,
) -> Generated:
    """Greedy tokens after a prompt, each from the first member whose top probability reaches ``threshold``.

    Args:
        family: the models.
        ids: token ids of the prompt.
        members: asked in this order, ascending exits; the last one's answer counts in any case. One member alone is
            an ordinary early exit; which ones is decided by each call.
        threshold: 0 always takes the first member, above 1 always the last.
        limit: new tokens at most.
        stop: token ids that end the answer; they are not part of it.
        pixel_values: images for the image tokens of the prompt.

    Raises:
        InputError: for an empty prompt, no members, members out of order or not in the family, or a limit below 1.
    """
    exits = [member.exit for member in members]
    if not exits or exits != sorted(exits):
        raise InputError(f"members with exits {exits} are not usable; give at least one, in ascending order.")
    if not ids or limit < 1:
        raise InputError(f"{len(ids)} prompt tokens and a limit of {limit} are not usable; give at least one of each.")
    session = Session(family, members)
    session.push(embeds=family.embed(torch.tensor([list(ids)]), pixel_values))
    said: list[tuple[int, Member, float]] = []
    while len(said) < limit:
        token, member, sure = _next(session, members, threshold)
        if token in stop:
            break
        said.append((token, member, sure))
        session.push(torch.tensor([[token]]))
    tokens, who, sures = zip(*said, strict=True) if said else ((), (), ())
    return Generated(ids=tokens, members=who, confidences=sures)


def _next(session: Session, members: Sequence[Member], threshold: float) -> tuple[int, Member, float]:
    for member in members:
        probabilities = session.advance(member, last=True)[0, -1].softmax(-1)
        sure, token = probabilities.max(-1)
        if float(sure) >= threshold or member is members[-1]:
            return int(token), member, float(sure)
    raise AssertionError("the last member always answers")
