"""The four-step device-server collaboration as a way to answer: select, answer in parallel, merge, revise. Costs only.

The first server selects and merges. A device revises after the merged answer is there, which its asker need not wait
for unless ``rounds`` is above one; so it costs bytes and no seconds here.
"""

from collections.abc import Iterator

from aiflow.collaboration.planning.alone import blind, crossing, unreachable
from aiflow.collaboration.planning.option import Option
from aiflow.collaboration.planning.prior import quality
from aiflow.collaboration.planning.state import Party, State
from aiflow.collaboration.planning.task import Task

DESCRIPTION, NAMES = 30, 8
"""Tokens by which a device is described to the server, and of the server's choice."""


def collaborate(task: Task, state: State) -> Iterator[Option]:
    """Each server with 1, 2, ... devices of the team; where all of them answer, nobody selects."""
    for server in state.servers:
        for count in range(1, len(state.team) + 1):
            yield _option(task, state, server, count)


def _option(task: Task, state: State, server: Party, count: int) -> Option:
    device, team, images = state.device, state.team, len(task.image_bytes)
    usable = [p for p in team if not unreachable(state, server, p) and not blind(task, p)]
    why = unreachable(state, device, server) or blind(task, server)
    if len(usable) < count:
        why = why or f"{len(usable)} of {len(team)} devices can answer"
    chosen = (usable if len(usable) >= count else list(team))[:count]
    choice = server.answering(task.prompt_tokens + DESCRIPTION * len(team), NAMES) if count < len(team) else 0.0
    merging = server.answering(task.prompt_tokens + count * task.output_tokens, task.output_tokens, images)
    replies = [_reply(task, state, server, party) for party in chosen]
    used = crossing(state, device, server, task.prompt_bytes, task.answer_bytes)
    for party in chosen:
        for name, size in crossing(state, server, party, task.prompt_bytes, task.answer_bytes).items():
            used[name] = used.get(name, 0.0) + size
    there = state.send(device, server, task.prompt_bytes) + state.send(server, device, task.answer_bytes)
    best = max(quality(p, state) for p in (server, *chosen))
    return Option(
        mode="collaborate",
        parties=(server.name, *(p.name for p in chosen)),
        parameters={"devices": count, "select": "all" if count == len(team) else "server"},
        seconds=there + choice + max(replies) + merging,
        bytes=used,
        quality=best * (1 + (state.lift if count > 1 else 0.0)),
        why_not=why,
    )


def _reply(task: Task, state: State, server: Party, party: Party) -> float:
    there = state.send(server, party, task.prompt_bytes)
    back = state.send(party, server, task.answer_bytes)
    return there + party.answering(task.prompt_tokens, task.output_tokens, len(task.image_bytes)) + back
