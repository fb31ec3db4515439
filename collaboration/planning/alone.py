"""Answering with one model: the device's own, or a server's. Costs only."""

from collections.abc import Iterator

from aiflow.collaboration.planning.option import Option
from aiflow.collaboration.planning.prior import quality
from aiflow.collaboration.planning.state import Party, State
from aiflow.collaboration.planning.task import Task


def on_device(task: Task, state: State) -> Iterator[Option]:
    """Nothing crosses a link."""
    device = state.device
    yield Option(
        mode="on_device",
        parties=(device.name,),
        seconds=device.answering(task.prompt_tokens, task.output_tokens, len(task.image_bytes)),
        quality=quality(device, state),
        exact=device.name == state.top.name,
        why_not=blind(task, device),
    )


def server_only(task: Task, state: State) -> Iterator[Option]:
    """The question goes to a server, and the whole answer comes back."""
    for server in state.servers:
        computing = server.answering(task.prompt_tokens, task.output_tokens, len(task.image_bytes))
        there = state.send(state.device, server, task.prompt_bytes)
        yield Option(
            mode="server_only",
            parties=(server.name,),
            seconds=there + computing + state.send(server, state.device, task.answer_bytes),
            bytes=crossing(state, state.device, server, task.prompt_bytes, task.answer_bytes),
            quality=quality(server, state),
            exact=server.name == state.top.name,
            why_not=unreachable(state, state.device, server) or blind(task, server),
        )


def crossing(state: State, a: Party, b: Party, up: float, down: float = 0.0) -> dict[str, float]:
    """Bytes by link of ``up`` bytes from a to b and ``down`` back."""
    found: dict[str, float] = {}
    for name, _ in state.hops(a, b):
        found[name] = found.get(name, 0.0) + up
    for name, _ in state.hops(b, a):
        found[name] = found.get(name, 0.0) + down
    return found


def unreachable(state: State, a: Party, b: Party) -> str:
    """Why two agents cannot work together now; empty if they can."""
    for party in (a, b):
        if party.down:
            return f"{party.name}: {party.down}"
    cut = state.cut(a, b)
    return f"link {cut} is down" if cut else ""


def blind(task: Task, *parties: Party) -> str:
    """Which of the agents cannot see the task's pictures; empty if all can."""
    lacking = next((p.name for p in parties if task.image_bytes and p.speeds.encode is None), "")
    return f"{lacking} sees no images" if lacking else ""
