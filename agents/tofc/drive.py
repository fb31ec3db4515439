"""A question on a compressed image as one call: arguments are checked, a setting is chosen, messages travel.

The asker carries them as bytes; it knows no model and no Ray.
"""

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiflow.agents import wire as replies
from aiflow.agents.deadline import Deadline
from aiflow.agents.options import merge
from aiflow.agents.tofc import wire
from aiflow.agents.tofc.channel import Channel
from aiflow.agents.tofc.events import Looked
from aiflow.agents.tofc.picture import picture
from aiflow.errors import AgentError, AiflowError, BackendError, InputError
from aiflow.types import Answer, Message, Options, conversation

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent

PART = "tofc"
OVERHEAD = 100
"""Bytes of a ``look`` beside image and ``ask``, and of an ``answer`` without its text; a little too many."""
PROBE = 64 * 1024
"""Bytes by which a topology is asked for the rate of its links."""
_FASTEST = 1e12  # bytes/s, within a node
_background: "set[asyncio.Task[Any]]" = set()


async def look(
    device: "Agent",
    image: Any,
    question: Any,
    server: "Agent",
    *,
    tokens: int | None = None,
    level: int | None = None,
    deadline: float | None = None,
    options: Options | Mapping[str, Any] | None = None,
    sender: str | None = None,
) -> Looked:
    """See `Agent.tofc_answer`."""
    check(device, server)
    clock = device.network.clock
    Deadline(deadline, clock, device.name)  # raises InputError before anything is sent
    key = secrets.token_hex(8)
    ask = replies.encode_ask(key, _turns(question), merge(device.options, options))
    shown = picture(image).data
    wanted = _whole("tokens", tokens, 1), _whole("level", level, 0)
    source = device.node if sender is None else sender
    device.network.route(source, device.node)  # raises TopologyError
    for agent in (device, server):
        if agent.host.starting:
            await agent.ready()
    run = _Run(device, server, source)
    channel = await run.meet()
    limit, started = Deadline(deadline, clock, device.name), clock.now()
    try:
        async with limit.limit():
            chosen = channel.choose(limit.left - run.outside(len(ask) + len(shown)), len(ask) + OVERHEAD, *wanted)
            answer = await run.answer(wire.See(ask=ask, image=shown, tokens=chosen[0], level=chosen[1]), key, channel)
    except (asyncio.CancelledError, AgentError):
        _leave(server, key)
        raise
    return device.record(replace(answer, agent=device.name, seconds=clock.now() - started))


def check(device: "Agent", server: "Agent") -> None:
    """Raises InputError for two agents that cannot share an inference."""
    if device is server:
        raise InputError(f"agent {device.name!r} cannot be its own server; give another agent.")
    if device.network is not server.network:
        raise InputError("the agents belong to different deployments; connect them in one topology.")


class _Run:
    """One question under way."""

    def __init__(self, device: "Agent", server: "Agent", source: str) -> None:
        self._device, self._server, self._source = device, server, source
        self._network, self._clock = device.network, device.network.clock
        self._crossed: Counter[str] = Counter()
        self._link = 0.0

    async def meet(self) -> Channel:
        """What is known of the two; their cards travel when they meet first. Raises InputError if they do not fit."""
        name = f"{PART} {self._server.name}"
        if name not in self._device.facts:
            own, other = await self._card(self._device, "device"), await self._card(self._server, "server")
            self._check(own, other)
            here, there, ideal = self._device.node, self._server.node, self._network.ideal
            rtt = ideal(here, there, 0) + ideal(there, here, 0)
            rate = PROBE / max(ideal(here, there, PROBE) - ideal(here, there, 0), PROBE / _FASTEST)
            self._device.facts[name] = Channel(own, rate=rate, rtt=rtt)
            self._link = 0.0  # how long that took is not the question's
        found: Channel = self._device.facts[name]
        return found

    def outside(self, nbytes: int) -> float:
        """Seconds that messages between asker and device will take, as far as the topology says."""
        there = self._network.ideal(self._source, self._device.node, nbytes)
        return there + self._network.ideal(self._device.node, self._source, OVERHEAD)

    async def answer(self, asked: wire.See, key: str, channel: Channel) -> Looked:
        """Carries all messages of a question."""
        device, server = self._device.node, self._server.node
        payload = wire.encode(asked)
        await self._send(self._source, device, len(payload))
        began = self._clock.now()
        seen = wire.decode(await _call(self._device, payload), wire.Seen)
        self._link += max(0.0, self._clock.now() - began - seen.seconds)  # a real link shows as a slow call
        up = await self._send(device, server, len(seen.look))
        called = self._clock.now()
        reply = await _call(self._server, seen.look)
        waited = self._clock.now() - called
        answer = replies.decode_reply(reply, key)
        if not isinstance(answer, Answer):
            raise BackendError(f"agent {self._server.name!r} ended its reply without an answer", self._server.name)
        computed = answer.usage.seconds
        self._link += max(0.0, waited - computed)
        await self._send(server, device, len(reply))
        real = len(seen.look) + len(reply), waited - computed - channel.rtt  # both ways at once
        nbytes, link = (len(seen.look), up - channel.rtt / 2) if self._network.emulate else real
        channel.learn(nbytes=nbytes, link=link, reply=len(reply), device=seen.seconds, server=computed)
        await self._send(device, self._source, len(reply))
        return Looked(
            text=answer.text,
            finish=answer.finish,
            usage=replace(answer.usage, seconds=seen.seconds + computed),
            bytes=dict(self._crossed),
            logprobs=answer.logprobs,
            tokens=asked.tokens,
            level=asked.level,
            nbytes=seen.nbytes,
            device_seconds=seen.seconds,
            link_seconds=self._link,
            server_seconds=computed,
        )

    async def _card(self, agent: "Agent", side: wire.Side) -> wire.About:
        payload = wire.encode(wire.Card(side=side))
        await self._send(self._device.node, agent.node, len(payload))
        reply = await _call(agent, payload)
        await self._send(agent.node, self._device.node, len(reply))
        return wire.decode(reply, wire.About)

    def _check(self, own: wire.About, other: wire.About) -> None:
        if (own.kind, own.fingerprint) != (other.kind, other.fingerprint):
            raise InputError(
                f"agents {self._device.name!r} ({own.kind}, codec {own.fingerprint:08x}) and {self._server.name!r} "
                f"({other.kind}, codec {other.fingerprint:08x}) have different codecs; load both from one folder."
            )

    async def _send(self, source: str, target: str, nbytes: int) -> float:
        delivery = await self._network.send(source, target, nbytes)
        self._crossed.update(delivery.bytes)
        self._link += delivery.seconds
        return delivery.seconds


async def _call(agent: "Agent", payload: bytes) -> bytes:
    try:
        return await agent.host.call(PART, payload)
    except AgentError as error:
        error.agent = agent.name
        raise


def _leave(server: "Agent", key: str) -> None:
    """Tells a server that nobody waits any more; that may take its time, or fail."""

    async def leave() -> None:
        with contextlib.suppress(AiflowError):
            await server.host.call(PART, wire.encode(wire.Leave(key=key)))

    task = asyncio.ensure_future(leave())
    _background.add(task)
    task.add_done_callback(_background.discard)


def _turns(question: Any) -> tuple[Message, ...]:
    turns = conversation(question)
    if any(turn.images for turn in turns) or turns[-1].role != "user":
        raise InputError("the question must end with a user's turn and hold no images; give the image by itself.")
    return turns


def _whole(name: str, value: Any, least: int) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InputError(f"{name}={value!r} is not usable; give an int >= {least}, or None to let it be chosen.")
    return value
