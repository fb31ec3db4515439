"""Split inference as a way to answer: the device computes the first blocks of the server's model. Costs only.

The branch at the exit drafts and the rest of the model judges, so the pace is that of drafting; what travels per
token are activations or ids (`familial.split` says how large and when which).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aiflow.collaboration.decoding.costs import Profile
from aiflow.collaboration.planning.alone import blind, crossing, unreachable
from aiflow.collaboration.planning.drafting import FRAME_DOWN, FRAME_UP, rhythm
from aiflow.collaboration.planning.option import Option
from aiflow.collaboration.planning.prior import quality
from aiflow.collaboration.planning.state import Exit, Party, State
from aiflow.collaboration.planning.task import MESSAGE, Task

TRANSPORTS = ("activations", "ids")


def split(task: Task, state: State) -> Iterator[Option]:
    """Every exit that the device has of a server's family, with activations and with ids."""
    device = state.device
    for server in state.servers:
        if not server.family or server.family != device.family:
            continue
        for exit_ in device.exits:
            for transport in TRANSPORTS:
                yield _option(task, state, server, exit_, transport)


def per_token(state: State, server: Party, exit_: Exit, transport: str, acceptance: float | None = None) -> float:
    """Seconds per token once both have read the prompt; ``acceptance`` None: the exit's own."""
    device, share = state.device, exit_.exit / server.depth
    size = FRAME_UP + token_bytes(server, transport)
    left = 1 - share if transport == "activations" else 1.0
    drafting = max(device.load * exit_.speeds.decode, state.pace(device, server, size))
    found = Profile(
        draft=drafting,
        verify=server.load * server.speeds.decode * left,
        per_row=server.load * server.speeds.per_row * left,
        up=state.send(device, server, size),
        down=state.send(server, device, FRAME_DOWN),
    )
    return rhythm(exit_.acceptance if acceptance is None else acceptance, found)[0]


def reading(task: Task, state: State, server: Party, exit_: Exit, transport: str) -> float:
    """Seconds until both have read the prompt."""
    device, images = replace(state.device, speeds=exit_.speeds), len(task.image_bytes)
    first = device.reading(task.prompt_tokens, images)
    places = task.prompt_tokens + images * exit_.speeds.image_tokens
    if transport == "activations":
        sending = state.send(device, server, MESSAGE + places * token_bytes(server, transport))
        rest = server.wait + (1 - exit_.exit / server.depth) * (server.reading(places) - server.wait)
        return first + sending + rest
    seen = images * exit_.speeds.image_tokens * token_bytes(server, "activations")  # embeddings of images travel
    looked = first if images else 0.0
    return max(
        first, looked + state.send(device, server, MESSAGE + 4 * task.prompt_tokens + seen) + server.reading(places)
    )


def token_bytes(server: Party, transport: str) -> int:
    """Of one place on the link, beside its frame."""
    if transport == "ids":
        return 4
    from aiflow.collaboration.familial.split import payload_bytes  # brings torch

    dtype: Any = server.dtype
    return payload_bytes(1, server.width, dtype) + 4


def _option(task: Task, state: State, server: Party, exit_: Exit, transport: str) -> Option:
    device, images = state.device, len(task.image_bytes)
    pace = per_token(state, server, exit_, transport)
    begun = reading(task, state, server, exit_, transport)
    places = task.prompt_tokens + images * exit_.speeds.image_tokens
    each = token_bytes(server, transport)
    up = MESSAGE + each * (places + task.output_tokens) + FRAME_UP * task.output_tokens
    return Option(
        mode="split",
        parties=(device.name, server.name),
        parameters={"exit": exit_.exit, "transport": transport},
        seconds=begun + task.output_tokens * pace + state.send(server, device, FRAME_DOWN),
        bytes=crossing(state, device, server, up, FRAME_DOWN * task.output_tokens),
        quality=quality(server, state),
        exact=server.name == state.top.name,
        why_not=unreachable(state, device, server) or blind(task, replace(device, speeds=exit_.speeds)),
    )
