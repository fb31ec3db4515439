"""What a topology becomes in the kernel: a namespace, an address and routes for each node, a device for each link.

Pure arithmetic; nothing is made here. Routes are those of the emulated network: the fewest links, then the least delay.
"""

import re
from dataclasses import dataclass
from typing import Any

from aiflow.cluster.network import Network
from aiflow.cluster.shaped.kernel import PREFIX
from aiflow.cluster.shaped.shaper import MTU
from aiflow.cluster.topology import Link, Topology, Wire
from aiflow.cluster.traces import Trace
from aiflow.errors import UsageError

HEADERS = 52
"""Bytes of IPv4 and TCP with timestamps in each packet."""
ETHERNET = 14
"""Bytes that the kernel's queues count in addition, on a veth device."""
QUEUE = 1.0
"""Seconds at its rate that a link's queue holds: it never runs dry behind TCP, and health checks get through."""

WINDOW = 1024 * 1024
"""Bytes of a connection's buffer; about half of them are its window, the rest the kernel's bookkeeping."""
OWN = 0.00015
"""Seconds that a packet takes through two TUN devices and the shaper anyway (measured); part of the link's delay."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.]{0,15}")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A node in the kernel. ``routes``: for each other node the device that leads there and the neighbour's address."""

    name: str
    namespace: str
    address: str
    routes: dict[str, tuple[str, str]]

    def route(self, address: str, device: str, via: str) -> str:
        """The ``ip`` command for one route."""
        neighbour = "" if via == address else f"via {via} "
        return f"route replace {address}/32 {neighbour}dev {device} {'onlink ' if neighbour else ''}src {self.address}"


def check_name(name: str) -> str:
    """A cluster's name. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a cluster; use up to 16 of a-z, 0-9, '_' and '.'.")
    return name


def namespace(cluster: str, node: str) -> str:
    """The network namespace of a node."""
    return f"{PREFIX}{cluster}-{node}"


def addresses(topology: Topology) -> dict[str, str]:
    """An address for each node. Clusters may share them: their namespaces do not know of each other."""
    if len(topology.nodes) > 60_000:
        raise UsageError(f"{len(topology.nodes)} nodes are more than one machine can hold.")
    return {name: f"10.201.{(i + 1) >> 8}.{(i + 1) & 255}" for i, name in enumerate(topology.nodes)}


def devices(topology: Topology) -> dict[str, str]:
    """The name of each link's device, alike at both ends."""
    return {name: f"link{i}" for i, name in enumerate(topology.wires())}


def hosts(cluster: str, topology: Topology) -> dict[str, Host]:
    """Every node with its address and its routes to all others."""
    network, address, device = Network(topology), addresses(topology), devices(topology)
    wires = topology.wires()
    found = {}
    for name in topology.nodes:
        routes = {}
        for other in topology.nodes:
            if other != name:
                wire = wires[network.route(name, other)[0]]
                neighbour = wire.b if wire.a == name else wire.a
                routes[address[other]] = (device[wire.name], address[neighbour])
        found[name] = Host(name=name, namespace=namespace(cluster, name), address=address[name], routes=routes)
    return found


def plain(link: Link) -> bool:
    """True if the kernel alone can shape it: a constant rate, and no delay, jitter or loss."""
    constant = all(len(way.points) == 1 for way in (link.rate.up, link.rate.down))
    return constant and not (link.rtt or link.jitter or link.loss)


def packets(rate: float, frame: int = 0) -> float:
    """The rate of packets (IP bytes/s and ``frame`` bytes for each) that carries ``rate`` bytes/s of TCP payload.

    A topology's rate is what an application gets, so the headers of full packets are added here; small ones pay theirs.
    """
    return rate * (MTU + frame) / (MTU - HEADERS)


def limit(rate: float) -> int:
    """Bytes that may wait for a link of ``rate`` bytes/s: at least what one connection has under way."""
    return max(WINDOW, int(packets(rate) * QUEUE))


def window(topology: Topology) -> int:
    """Bytes that a node's kernel may keep for a connection: enough for the longest link, too few to overflow a queue.

    An emulated link never drops anything, and a loss at the end of a message costs TCP a third of a second.
    """
    ways = [(trace, link.rtt) for link in topology.links for trace in (link.rate.up, link.rate.down)]
    return max([WINDOW, *(int(4 * rtt * max(rate for _, rate in trace.points)) for trace, rtt in ways)])


def settings(link: Link, up: bool) -> dict[str, Any]:
    """A link as the shaper reads it (see ``shaper``)."""
    return {"up": _direction(link, link.rate.up, up), "down": _direction(link, link.rate.down, up)}


def _direction(link: Link, trace: Trace, up: bool) -> dict[str, Any]:
    return {
        "points": [[moment, packets(rate)] for moment, rate in trace.points],
        "period": trace.period,
        "delay": max(0.0, link.rtt / 2 - OWN),
        "jitter": link.jitter,
        "loss": link.loss,
        "limit": limit(max(rate for _, rate in trace.points)),
        "up": up,
    }


def ends(wire: Wire, found: dict[str, Host]) -> tuple[Host, Host]:
    """The hosts at both ends of a link."""
    return found[wire.a], found[wire.b]
