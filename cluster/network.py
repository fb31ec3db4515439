"""Carries messages between the nodes of a topology over its links, in emulated or in real time, and counts their bytes.

A route may have several links. A message is stored at each node and forwarded when all of it has arrived, so a link
shared by many senders serves them in the order in which their messages reach it. What a message says is not known here.

A network belongs to one event loop.
"""

import asyncio
import heapq
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from aiflow import tracing
from aiflow.clock import Clock, RealClock
from aiflow.cluster.links import EmulatedLink
from aiflow.cluster.topology import Link, Node, Topology, Wire
from aiflow.errors import TopologyError, suggest

T = TypeVar("T")
Watcher = Callable[[str, bool, int, float], None]
"""Is told what took how long: a link, whether against its direction, bytes, seconds with queueing."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A message that arrived: when it was sent and arrived (clock seconds), its bytes, the links it took in order."""

    sent: float
    arrival: float
    nbytes: int
    hops: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """From sending to arrival."""
        return self.arrival - self.sent

    @property
    def bytes(self) -> dict[str, int]:
        """What crossed each link."""
        return dict.fromkeys(self.hops, self.nbytes)


@dataclass(frozen=True, kw_only=True)
class _Hop:
    name: str
    link: EmulatedLink
    down: bool


class Network:
    """The links of ``topology`` on ``clock``; with ``emulate=False`` (a real cluster) bytes count and nothing waits.

    Jitter and loss follow ``seed``: on a VirtualClock the same calls give the same arrivals.
    """

    def __init__(self, topology: Topology, clock: Clock | None = None, seed: int = 0, emulate: bool = True) -> None:
        self.clock: Clock = clock or RealClock()
        self.emulate = emulate
        self._seed = seed
        self._wires: dict[str, Wire] = {}
        self._links: dict[str, EmulatedLink] = {}
        self._routes: dict[tuple[str, str], tuple[_Hop, ...]] = {}
        self.watchers: list[Watcher] = []
        self._become(topology)

    def route(self, src: str, dst: str) -> tuple[str, ...]:
        """Names of the links from ``src`` to ``dst``: the fewest, then the least round-trip time; none within a node.

        Raises TopologyError for unknown nodes.
        """
        return tuple(hop.name for hop in self._hops(src, dst))

    async def send(self, src: str, dst: str, nbytes: int) -> Delivery:
        """Carries one message and returns when it has arrived."""
        sent = arrival = self.clock.now()
        for hop in self._hops(src, dst):
            with tracing.span("link") as span:
                if span:
                    span.rename(f"link {hop.name}")
                    span.set({"aiflow.link": hop.name, "aiflow.bytes": nbytes, "aiflow.from": src, "aiflow.to": dst})
                entered, arrival = arrival, self._enter(hop, nbytes, arrival)
                await self._wait(arrival)
            for watch in self.watchers if arrival > entered else ():
                watch(hop.name, hop.down, nbytes, arrival - entered)
        return Delivery(sent=sent, arrival=arrival, nbytes=nbytes, hops=self.route(src, dst))

    def channel(self, src: str, dst: str) -> "Channel[T]":
        """A stream of messages from ``src`` to ``dst``: pipelined, in order."""
        return Channel(self, self._hops(src, dst))

    def ideal(self, src: str, dst: str, nbytes: int) -> float:
        """Seconds that a message sent now would take with every queue empty, without loss or jitter (for planning)."""
        now = moment = self.clock.now()
        for hop in self._hops(src, dst):
            moment = hop.link.ideal(nbytes, down=hop.down, at=moment)
        return moment - now

    def totals(self) -> dict[str, int]:
        """Message bytes that entered each link so far, both directions."""
        return {name: link.traffic().bytes + link.traffic(down=True).bytes for name, link in self._links.items()}

    def link(self, a: str, b: str) -> EmulatedLink:
        """The link between two neighbours. Raises TopologyError if there is none."""
        hops = self._hops(a, b)
        if len(hops) != 1:
            raise TopologyError(f"no link joins {a!r} and {b!r}; {suggest(f'{a}-{b}', list(self._links))}")
        return hops[0].link

    def join(self, name: str, node: Node | str | Mapping[str, Any], links: Iterable[Link | Mapping[str, Any]]) -> None:
        """A further node with its links, from now on. Raises TopologyError, and nothing has changed then."""
        if name in self.topology.nodes:
            raise TopologyError(f"there is already a node {name!r}; choose another name.")
        self._become(_with(self.topology, {**self.topology.nodes, name: node}, (*self.topology.links, *links)))

    def leave(self, name: str) -> None:
        """A node is gone with its links; what is in flight arrives.

        Raises TopologyError if others need it as a relay, and nothing has changed then.
        """
        if name not in self.topology.nodes:
            raise TopologyError(f"{name!r} is no node; {suggest(name, list(self.topology.nodes))}")
        nodes = {other: node for other, node in self.topology.nodes.items() if other != name}
        ends = {*nodes, *(node.tier for node in nodes.values())}
        self._become(
            _with(self.topology, nodes, [link for link in self.topology.links if ends.issuperset(link.between)])
        )

    def _become(self, topology: Topology) -> None:
        """Takes over a topology; links that stay the same keep their queues and counts."""
        wires = topology.wires()
        self._links = {
            name: self._links[name] if self._wires.get(name) == wire else self._emulated(wire)
            for name, wire in wires.items()
        }
        self.topology, self._wires = topology, wires
        self._routes.clear()

    def _emulated(self, wire: Wire) -> EmulatedLink:
        link, seed = wire.link, [self._seed, zlib.crc32(wire.name.encode())]
        return EmulatedLink(link.rate, link.rtt, link.jitter, link.loss, clock=self.clock, seed=seed)

    def _enter(self, hop: _Hop, nbytes: int, at: float) -> float:
        arrival = hop.link.reserve(nbytes, down=hop.down, at=at)
        return arrival if self.emulate else at

    async def _wait(self, moment: float) -> None:
        if self.emulate:
            await self.clock.sleep_until(moment)

    def _hops(self, src: str, dst: str) -> tuple[_Hop, ...]:
        if (src, dst) not in self._routes:
            for name in (src, dst):
                if name not in self.topology.nodes:
                    raise TopologyError(f"{name!r} is no node; {suggest(name, list(self.topology.nodes))}")
            self._routes[src, dst] = tuple(self._hop(a, b) for a, b in pairwise(self._path(src, dst)))
        return self._routes[src, dst]

    def _hop(self, a: str, b: str) -> _Hop:
        wire = next(w for w in self._wires.values() if {w.a, w.b} == {a, b})
        return _Hop(name=wire.name, link=self._links[wire.name], down=wire.a == b)

    def _path(self, src: str, dst: str) -> tuple[str, ...]:
        border: list[tuple[int, float, tuple[str, ...]]] = [(0, 0.0, (src,))]
        seen: set[str] = set()
        while border:
            hops, rtt, path = heapq.heappop(border)
            here = path[-1]
            if here == dst:
                return path
            if here in seen:
                continue
            seen.add(here)
            for wire in self._wires.values():
                if here in (wire.a, wire.b):
                    there = wire.b if wire.a == here else wire.a
                    heapq.heappush(border, (hops + 1, rtt + wire.link.rtt, (*path, there)))
        raise AssertionError("a topology is connected")


class Channel(Generic[T]):
    """Messages on their way from one node to another: ``put`` never waits, iteration yields them as they arrive.

    ::

        async with network.channel("cloud", "phone") as channel:
            for token in tokens:
                channel.put(token, nbytes)
            channel.close()
            async for token in channel: ...

    Items come out in the order of ``put`` even where a later one is smaller. Iteration ends after ``close``.
    """

    def __init__(self, network: Network, hops: tuple[_Hop, ...]) -> None:
        self._network, self._hops = network, hops
        # Messages in flight on hop i as (item, bytes, arrival); what flies on the last hop is awaited in __anext__.
        self._flights: list[asyncio.Queue[tuple[T, int, float] | None]] = [asyncio.Queue() for _ in hops or (None,)]
        self._forwarders: list[asyncio.Task[None]] = []
        self._head: tuple[T, int, float] | None = None
        self._closed = self._ended = False
        self.nbytes = 0

    @property
    def hops(self) -> tuple[str, ...]:
        """The links it takes, in order."""
        return tuple(hop.name for hop in self._hops)

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes put so far, by link."""
        return dict.fromkeys(self.hops, self.nbytes)

    def put(self, item: T, nbytes: int) -> None:
        """Sends ``item`` as a message of ``nbytes``. Raises RuntimeError after ``close``."""
        if self._closed:
            raise RuntimeError("this channel is closed; open another one with Network.channel.")
        arrival = self._network.clock.now()
        if self._hops:
            arrival = self._network._enter(self._hops[0], nbytes, arrival)
        self.nbytes += nbytes
        self._flights[0].put_nowait((item, nbytes, arrival))
        if len(self._hops) > 1 and not self._forwarders:
            self._forwarders = [asyncio.create_task(self._forward(i)) for i in range(1, len(self._hops))]

    def close(self) -> None:
        """Says that nothing more is put; what is in flight still arrives."""
        if not self._closed:
            self._closed = True
            self._flights[0 if self._forwarders else -1].put_nowait(None)

    async def cancel(self) -> None:
        """Drops what is in flight and ends the iteration."""
        self.close()
        self._ended = True
        self._flights[-1].put_nowait(None)  # wakes a waiting reader
        for task in self._forwarders:
            task.cancel()
        await asyncio.gather(*self._forwarders, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cancel()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._head is None and not self._ended:
            self._head = await self._flights[-1].get()
        if self._head is None or self._ended:
            self._ended = True
            raise StopAsyncIteration
        item, _, arrival = self._head  # kept until it has arrived: a cancelled wait loses nothing
        await self._network._wait(arrival)
        self._head = None
        return item

    async def _forward(self, index: int) -> None:
        # At the node before hop `index`: each message enters the hop when all of it has arrived, in order.
        arriving, leaving = self._flights[index - 1], self._flights[index]
        while flight := await arriving.get():
            item, nbytes, arrival = flight
            await self._network._wait(arrival)
            leaving.put_nowait((item, nbytes, self._network._enter(self._hops[index], nbytes, arrival)))
        leaving.put_nowait(None)


def _with(topology: Topology, nodes: Mapping[str, Any], links: Iterable[Any]) -> Topology:
    return Topology(nodes=dict(nodes), links=list(links), address=topology.address)
