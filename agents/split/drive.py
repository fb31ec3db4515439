"""Split inference as one call: arguments are checked, the device begins, messages travel, events come out.

The device's first token waits for no link. What a server's process loses with its death, the device tells the next one.
"""

import secrets
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from aiflow.agents.deadline import Deadline
from aiflow.agents.options import merge
from aiflow.agents.split import wire
from aiflow.agents.split.events import Event, Final, Provisional, Split, TakenBack
from aiflow.agents.split.how import Asked, How, complete
from aiflow.agents.split.run import Run
from aiflow.errors import InputError
from aiflow.types import Usage, conversation

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent


async def split(device: "Agent", messages: Any, server: "Agent", how: How) -> AsyncGenerator[Event]:
    """See `Agent.split_stream`."""
    check(device, server)
    given = complete(how)
    source = device.node if given["sender"] is None else given["sender"]
    device.network.route(source, device.node)  # raises TopologyError
    asked = Asked.of(conversation(messages), merge(device.options, given["options"]), source, given)
    for agent in (device, server):
        if agent.host.starting:
            await agent.ready()
    clock = device.network.clock
    limit, started = Deadline(given["deadline"], clock, device.name), clock.now()
    run, reader = Run(device, server, asked, secrets.token_hex(8)), _Reader()
    run.start()
    try:
        while True:
            async with limit.limit():
                state = await run.next()
            for event in reader.read(state):
                yield event
            if state.finish is not None:
                break
        async with limit.limit():
            crossed = await run.finish()
    finally:
        run.close()
    seconds = clock.now() - started
    yield device.record(_answer(run, state, reader, seconds, crossed, device))


def check(device: "Agent", server: "Agent") -> None:
    """Raises InputError for two agents that cannot share an inference."""
    if device is server:
        raise InputError(f"agent {device.name!r} cannot be its own server; give another agent.")
    if device.network is not server.network:
        raise InputError("the agents belong to different deployments; connect them in one topology.")


class _Reader:
    """States to events, in order."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._taken_back = 0

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def read(self, state: wire.State) -> list[Event]:
        events: list[Event] = []
        if state.taken_back > self._taken_back:
            events.append(TakenBack(place=max(0, state.place - 1), tokens=state.taken_back - self._taken_back))
            self._taken_back = state.taken_back
        if state.final:
            self._texts.append(state.final)
            events.append(Final(text=state.final))
        return events + [Provisional(text=s.text, place=s.place, tier=s.tier) for s in state.provisional]


def _answer(
    run: Run, state: wire.State, reader: _Reader, seconds: float, crossed: Mapping[str, int], device: "Agent"
) -> Split:
    assert state.finish is not None
    own = min(state.tokens, state.own + state.alone)
    spent = state.seconds + state.server_us / 1e6
    return Split(
        text=reader.text,
        finish=state.finish,
        usage=Usage(requests=1, prompt_tokens=run.opened.prompt, completion_tokens=state.tokens, seconds=spent),
        agent=device.name,
        seconds=seconds,
        bytes=crossed,
        tokens_by={device.name: own, run.server.name: state.tokens - own},
        judged=not state.alone,
        taken_back=state.taken_back,
        transport=state.transport,
        rate=run.rate,
        break_even=run.break_even,
        device_seconds=state.seconds,
        link_seconds=run.link_seconds,
        server_seconds=state.server_us / 1e6,
        outages=run.outages,
    )
