"""Measures agents for the planner: speeds by real requests, what their models say of themselves, how drafts fare."""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiflow.cluster.profiles import (
    ExitProfile,
    NodeProfile,
    PairProfile,
    SettingProfile,
    looking,
    measure,
    memory_of,
)
from aiflow.errors import AiflowError, InputError
from aiflow.types import Image

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent

QUESTIONS = ("What is 17 + 25?", "Name three animals that live in water.", "Write a short sentence about rain.")
"""Asked where nobody names better ones."""


async def profile(agent: "Agent", *, image: Image | None = None, **how: Any) -> NodeProfile:
    """`measure`, and where the model can share an inference: seconds of a judged row, blocks, width and weights.

    ``image``: that models which see are shown; ``how``: further arguments of `measure`. Raises what asking raises.
    """
    model = str(agent.facts.get("model", ""))
    found = await measure(agent, **{"model": model, "memory": memory_of(_folder(model)), **how})
    if image is not None:
        with contextlib.suppress(InputError):  # it sees nothing
            found = await looking(agent, found, image)
    try:
        about = await _about(agent)
    except AiflowError:  # a back end without weights here, or a model that cannot be split
        return found
    one, wide, rows = about
    update = {**wide, "per_row": rows} if one else wide
    return found.model_copy(update=update)


async def acceptance(drafter: "Agent", judge: "Agent", questions: Sequence[str] = QUESTIONS) -> PairProfile:
    """How many of a device's drafts stand before a judge, over real questions. Raises what decoding raises."""
    good = bad = 0
    for question in questions:
        answer = await drafter.speculative_decode(question, judges=[judge], options={"max_tokens": 48})
        good += answer.accepted
        bad += min(max(0, answer.judged - answer.accepted), answer.rounds.get(judge.name, 0))
    return PairProfile(draft=drafter.name, judge=judge.name, acceptance=good / max(1, good + bad))


def begun(device: NodeProfile, server: NodeProfile, pair: PairProfile) -> NodeProfile:
    """The device's profile with the exit at which it stops in the server's model, if it is a member of its family.

    A member drafts for the full model as its branch does in a split inference, so the acceptance is the same.
    """
    folder, _, member = device.model.partition("#")
    exit_ = member.partition(":")[0]
    if not server.family or folder != server.model.partition("#")[0] or not exit_.isdigit():
        return device
    one = ExitProfile(exit=int(exit_), prefill=device.prefill, decode=device.decode, acceptance=pair.acceptance)
    return device.model_copy(update={"family": server.family, "exits": (*device.exits, one)})


async def settings(device: "Agent", server: "Agent") -> list[SettingProfile]:
    """Ways to send an image between two agents with one feature codec, as its profile says. Raises AiflowError."""
    from aiflow.agents.tofc import wire

    sides: Sequence[tuple[Agent, wire.Side]] = ((device, "device"), (server, "server"))
    own, other = [
        wire.decode(await agent.host.call("tofc", wire.encode(wire.Card(side=side))), wire.About)
        for agent, side in sides
    ]
    if own.fingerprint != other.fingerprint:
        raise InputError(
            f"agents {device.name!r} and {server.name!r} have different codecs; load both from one folder."
        )
    return [
        SettingProfile(
            device=device.name, server=server.name, tokens=c.tokens, level=c.level, nbytes=c.nbytes, score=c.score
        )
        for c in own.profile
    ]


async def _about(agent: "Agent") -> tuple[bool, dict[str, Any], float]:
    from aiflow.agents.split import wire

    reply = await agent.host.call("split", wire.encode(wire.Ask(padding=b"")))
    about = wire.decode(reply, wire.About)
    facts = {"family": about.weights, "depth": about.depth, "width": about.width, "dtype": about.dtype}
    if len(about.seconds) < 2:
        return False, facts, 0.0
    one, wide = about.seconds[:2]
    return True, facts, max(0.0, about.depth * (wide - one) / (wire.WIDE - 1))


def _folder(model: str) -> str:
    from aiflow.nano import WEIGHTS

    name = model.removeprefix("aiflow:nano/")
    return model if name == model else str(WEIGHTS / name)
