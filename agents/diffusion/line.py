"""The asker's side: moves parties' messages between agents, from where they are to where they go, and counts them.

Every wait has a deadline. A message that was damaged, or whose agent died, is sent once more, then to the next replica;
each such thing is marked. A result that was lost is computed again. Knows no model: messages are bytes.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aiflow.agents.deadline import Deadline
from aiflow.agents.diffusion import wire
from aiflow.agents.diffusion.ledger import Ledger, Trace
from aiflow.agents.diffusion.store import Result, Store
from aiflow.cluster.network import Network
from aiflow.errors import (
    AgentDiedError,
    AgentError,
    BackendError,
    ChecksumError,
    InputError,
    MessageError,
    ProtocolError,
)

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent

INLINE = 2048
"""Bytes of a result that comes back at once instead of staying where it was made."""
POLL = 0.2
"""Seconds between two looks at how far a call is."""
CARRY = 512 * 1024 * 1024  # bytes: "send the result, however large"
Write = Callable[[Any], None]


@dataclass(frozen=True, kw_only=True)
class Held:
    """A result that ``agent`` on ``node`` holds under ``key``. ``data``, if it is at hand, leaves from ``leaves``."""

    agent: str
    node: str
    key: str
    kind: str
    nbytes: int
    digest: str
    shapes: Mapping[str, list[int]] = field(default_factory=dict)
    data: bytes | None = field(default=None, repr=False)
    leaves: str = ""

    def handle(self) -> dict[str, Any]:
        """Without the data, as JSON, for a graph's state."""
        names = ("agent", "node", "key", "kind", "nbytes", "digest", "shapes")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of(cls, handle: Mapping[str, Any]) -> "Held":
        """From ``handle``. Raises InputError."""
        try:
            return cls(**handle)
        except TypeError as error:
            raise InputError(f"{handle!r} is no handle of a result: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class _Ask:
    """What an agent is to be given, and how."""

    source: bytes | Held
    attached: Mapping[str, Held]
    bring: bool
    fresh: bool
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class _Whole:
    """The bytes for an agent, and the (node, kind, bytes) of the parts that travel to it."""

    ask: bytes
    parcels: Sequence[tuple[str, str, int]]


class Line:
    """Carries the messages of one request for an asker on node ``at``.

    Agents are given singly or as a sequence of replicas, which are asked in that order. ``deadline``: seconds for each
    call, links included. ``write`` hears of progress; ``watch``: ask how far long calls are. ``kept``: what was
    delivered.
    """

    def __init__(
        self,
        request: str,
        network: Network,
        at: str,
        *,
        deadline: float | None = 60.0,
        trace: Trace | None = None,
        write: Write | None = None,
        kept: Store | None = None,
    ) -> None:
        self.request, self.at, self.deadline, self.write = request, at, deadline, write
        self.network, self.clock = network, network.clock
        self.watch, self.kept = True, kept or Store()
        self.ledger = Ledger(trace)
        self._origins: dict[tuple[str, str], tuple[Sequence[Agent], _Ask]] = {}  # by agent and key
        self._places: dict[str, Agent] = {}
        self._told: dict[str, tuple[int, int]] = {}
        self._began, self._before = self.clock.now(), self.ledger.seconds

    async def call(
        self,
        team: "Agent | Sequence[Agent]",
        source: bytes | Held,
        *,
        attached: Mapping[str, Held] | None = None,
        bring: bool = False,
        fresh: bool = False,
        deadline: float | None = None,
    ) -> Held:
        """Gives a message to the first agent of ``team`` that can answer; the result stays there unless ``bring``.

        ``source``: the message, or where it is held; ``attached``: results that become fields of it. ``fresh``: for
        messages that are answered otherwise the next time. ``deadline`` instead of the line's own. Raises what the
        party said of the message (UsageError, MessageError); else, after every replica, the last AgentError.
        """
        agents = list(team) if isinstance(team, Sequence) else [team]
        ask = _Ask(
            source=source, attached=dict(attached or {}), bring=bring, fresh=fresh, seconds=self._limit(deadline)
        )
        whole = await self._whole(ask)
        for place, agent in enumerate(agents):
            try:
                held = await self._patient(agent, whole, ask.seconds)
                self._origins[agent.name, held.key] = agents, ask
                self._places[agent.name] = agent
                return held
            except (AgentError, ChecksumError) as error:
                if place + 1 == len(agents):
                    raise self._named(error, agent) from error
                self.mark(agent, f"{_said(error)}; {agents[place + 1].name!r} was asked instead")
        raise InputError("no agents are given for a part; give at least one.")

    async def bring(self, held: Held, *, deadline: float | None = None) -> bytes:
        """The bytes of a result, at the asker. Raises AgentError, also if it is lost and cannot be made again."""
        if held.data is not None and held.leaves == self.at:
            return held.data
        if (kept := self.kept.get(held.digest, self.clock.now())) is not None:
            return kept.payload
        data, source = await self._found(held, self._limit(deadline))
        with self._timed(self._places[held.agent], "send a result", deadline) as limit:
            async with limit.limit():
                await self._bear(source, self.at, held.kind, len(data))
        return data

    async def deliver(self, held: Held, *, deadline: float | None = None) -> None:
        """Brings a result to the asker's node and keeps it there, whatever becomes of its agent. Raises as `bring`."""
        data, now = await self.bring(held, deadline=deadline), self.clock.now()
        result = Result(
            payload=data, kind=held.kind, shapes=dict(held.shapes), digest=held.digest, seconds=0.0, wanted=now
        )
        self.kept.put(held.digest, result)

    async def lift(self, held: Held) -> Held:
        """Gets a result ready to leave its node, so that whatever fails afterwards is not its agent's fault.

        Raises AgentError, or what the party said when it was to compute it again.
        """
        if held.data is not None:
            return held
        data, node = await self._found(held, self.deadline)
        return replace(held, data=data, leaves=node)

    async def card(self, agent: "Agent", *, steps: int = 0, deadline: float | None = None) -> wire.Card:
        """What an agent says of itself, if it is there. Raises AgentError."""
        ask = wire.encode(wire.Who(steps=steps))
        with self._timed(agent, "say what it is", deadline) as limit:
            async with limit.limit():
                self.ledger.crossed(await self.network.send(self.at, agent.node, len(ask)), control=True)
                try:
                    reply = await agent.host.call(wire.PART, ask)
                    said: wire.Card = _read(reply, wire.Card, agent)
                except ChecksumError as error:
                    raise self._named(error, agent) from error
                self.ledger.crossed(await self.network.send(agent.node, self.at, len(reply)), control=True)
        return said

    async def drop(self, agents: Sequence["Agent"], keys: Sequence[str]) -> None:
        """Tells agents that results are not needed any more; whether they hear it is not their asker's concern."""
        told = wire.encode(wire.Drop(keys=list(keys)))
        for agent in agents:
            with contextlib.suppress(AgentError, ProtocolError):
                async with Deadline(1.0, self.clock, agent.name).limit():
                    await agent.host.call(wire.PART, told)

    def mark(self, agent: "Agent | str", text: str) -> None:
        """Notes that something went otherwise than it should have."""
        self.ledger.mark(f"{agent if isinstance(agent, str) else agent.name}: {text}")

    def tell(self, event: Mapping[str, Any]) -> None:
        """Tells whoever listens to the run."""
        if self.write is not None:
            self.write({"request": self.request, **event})

    def trace(self) -> Trace:
        """What the run cost up to now, as JSON."""
        self.ledger.seconds = self._before + self.clock.now() - self._began
        return self.ledger.trace()

    def knows(self, agents: Sequence["Agent"], held: Held) -> Held:
        """Remembers which agent holds a result that came from a state."""
        for agent in agents:
            if agent.name == held.agent:
                self._places[agent.name] = agent
        return held

    async def _patient(self, agent: "Agent", whole: _Whole, seconds: float | None) -> Held:
        """One agent, asked once more after damage or a death, within one deadline for both."""
        if agent.host.starting:
            await agent.ready()
        with self._timed(agent, "answer", seconds) as limit:
            async with limit.limit():
                try:
                    return await self._once(agent, whole)
                except (ChecksumError, AgentDiedError) as error:
                    self.mark(agent, f"{_said(error)}; asked again")
                    return await self._once(agent, whole)

    async def _whole(self, asked: _Ask) -> _Whole:
        """What an agent is to be sent, with all that others held of it, and from where each part of it leaves."""
        data, node, kind = await self._data(asked.source, asked.seconds)
        found = await asyncio.gather(*(self._data(held, asked.seconds) for held in asked.attached.values()))
        inline = CARRY if asked.bring else INLINE
        plain = wire.Do(request=self.request, payload=data, inline=inline, fresh=asked.fresh)
        ask = wire.encode(plain)
        parcels = [(node, kind, len(ask)), *((place, what, len(part)) for part, place, what in found)]
        if found:
            attached = {name: part for name, (part, _, _) in zip(asked.attached, found, strict=True)}
            ask = wire.encode(plain.model_copy(update={"attached": attached}))
        return _Whole(ask=ask, parcels=parcels)

    async def _once(self, agent: "Agent", whole: _Whole) -> Held:
        await asyncio.gather(*(self._bear(source, agent.node, kind, n) for source, kind, n in whole.parcels))
        called = self.clock.now()
        reply = await self._watched(agent, whole.ask)
        done = _read(reply, wire.Done, agent)
        waited = self.clock.now() - called
        self.ledger.link_seconds += max(0.0, waited - done.seconds)  # a real link shows as a slow call
        self.ledger.computed(agent.node, agent.name, done.seconds)
        self.ledger.crossed(await self.network.send(agent.node, self.at, len(reply)), control=done.payload is None)
        held = Held(
            agent=agent.name,
            node=agent.node,
            key=done.key,
            kind=done.kind,
            nbytes=done.nbytes,
            digest=done.digest,
            shapes=done.shapes,
            data=done.payload,
            leaves=self.at,
        )
        if done.payload is not None:
            self.ledger.flowed(agent.node, self.at, done.kind, len(reply))
            if wire.digest(done.payload) != done.digest:
                raise ChecksumError("a result is not the one that was made")
        return held

    async def _bear(self, source: str, target: str, kind: str, nbytes: int) -> None:
        """A party's message travels."""
        self.ledger.flowed(source, target, kind, nbytes)
        self.ledger.crossed(await self.network.send(source, target, nbytes))

    async def _data(self, source: bytes | Held, seconds: float | None) -> tuple[bytes, str, str]:
        """A message's bytes, the node that they leave from, and their kind."""
        if isinstance(source, bytes):
            return source, self.at, wire.kind_of(source)
        if source.data is not None:
            return source.data, source.leaves, source.kind
        data, node = await self._found(source, seconds)
        return data, node, source.kind

    async def _found(self, held: Held, seconds: float | None) -> tuple[bytes, str]:
        """The bytes of a result and the node that has them; what is lost is computed again, there or by a replica."""
        agent = self._places.get(held.agent)
        if agent is None:
            raise BackendError(f"nobody here knows agent {held.agent!r}, which holds a result; run again.", held.agent)
        with self._timed(agent, "send a result", seconds) as limit:
            try:
                async with limit.limit():
                    data = await self._take(agent, held)
            except (AgentError, ChecksumError) as error:
                self.mark(agent, f"{_said(error)} while it held a result")
                data = None
        if data is not None:
            return data, agent.node
        if (held.agent, held.key) not in self._origins:
            raise BackendError(f"agent {agent.name!r} no longer has a result of this run; run again.", agent.name)
        self.mark(agent, "a result was lost; computed again")
        team, ask = self._origins[held.agent, held.key]
        try:
            again = await self.call(list(team), ask.source, attached=ask.attached, bring=True, deadline=seconds)
        except MessageError as error:
            raise BackendError(f"agent {agent.name!r} lost a result for good: {error}", agent.name) from error
        if again.digest != held.digest or again.data is None:
            raise BackendError(f"agent {agent.name!r} computed another result the second time.", agent.name)
        return again.data, again.node

    async def _take(self, agent: "Agent", held: Held) -> bytes | None:
        ask = wire.encode(wire.Take(key=held.key))
        self.ledger.crossed(await self.network.send(self.at, agent.node, len(ask)), control=True)
        for last in (False, True):
            try:
                data: bytes | None = _read(await agent.host.call(wire.PART, ask), wire.Taken, agent).payload
                if data is not None and wire.digest(data) != held.digest:
                    raise ChecksumError("a held result is not the one that was made")
                return data
            except ChecksumError as error:
                if last:
                    raise
                self.mark(agent, f"{_said(error)}; asked again")
        return None

    async def _watched(self, agent: "Agent", ask: bytes) -> bytes:
        """The reply; meanwhile, if somebody listens, how far it is."""
        if self.write is None or not self.watch:
            return await agent.host.call(wire.PART, ask)
        watching = asyncio.ensure_future(self._watch(agent))
        try:
            return await agent.host.call(wire.PART, ask)
        finally:
            watching.cancel()

    async def _watch(self, agent: "Agent") -> None:
        ask = wire.encode(wire.Watch(request=self.request))
        with contextlib.suppress(AgentError, ProtocolError):
            while True:
                await self.clock.sleep_until(self.clock.now() + POLL)
                found = _read(await agent.host.call(wire.PART, ask), wire.Steps, agent)
                if (found.step, found.steps) not in (self._told.get(agent.name), (0, 0)):
                    self._told[agent.name] = found.step, found.steps
                    self.tell({"agent": agent.name, "node": agent.node, "step": found.step, "steps": found.steps})

    @contextmanager
    def _timed(self, agent: "Agent", doing: str, seconds: float | None) -> Iterator[Deadline]:
        try:
            yield Deadline(self.deadline if seconds is None else seconds, self.clock, agent.name, doing)
        except AgentError as error:
            raise self._named(error, agent) from None

    def _limit(self, seconds: float | None) -> float | None:
        return self.deadline if seconds is None else seconds

    def _named(self, error: Exception, agent: "Agent") -> Exception:
        if isinstance(error, AgentError):
            error.agent = error.agent or agent.name
            return error
        return BackendError(f"agent {agent.name!r} sends damaged messages: {error}", agent.name)


def _read(reply: bytes, expected: Any, agent: "Agent") -> Any:
    """A reply. Raises ChecksumError for one that was damaged on the way, and the error that it carries."""
    try:
        wire.kind_of(reply)
    except ProtocolError as error:
        raise ChecksumError(f"a reply of {agent.name!r} arrived damaged: {error}") from error
    return wire.decode(reply, expected)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
