"""What the links of a network give, estimated from all that it carries: rate and delay by direction.

Where links are not emulated, messages take their time elsewhere: nothing is learnt, and what is configured stands.
"""

from dataclasses import dataclass
from math import inf

from aiflow.cluster.estimates import Direction
from aiflow.cluster.network import Network


@dataclass(frozen=True, kw_only=True)
class Line:
    """One direction of a link: bytes/s and one-way seconds; ``measured``: from traffic, else as configured."""

    rate: float
    delay: float
    measured: bool


class LinkWatch:
    """Learns from all that ``network`` carries from now on."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._seen: dict[tuple[str, bool], Direction] = {}
        network.watchers.append(self._carried)

    def line(self, link: str, against: bool) -> Line:
        """A link of the topology, in its direction or ``against`` it."""
        seen = self._seen.get((link, against))
        rate, delay = self._configured(link, against)
        if seen is None or seen.seen == -inf:
            return Line(rate=rate, delay=delay, measured=False)
        return Line(rate=seen.rate(self._network.clock.now()).value, delay=seen.delay, measured=True)

    def _carried(self, link: str, against: bool, nbytes: int, seconds: float) -> None:
        if link not in self._network.topology.wires():  # its node has just left
            return
        if (link, against) not in self._seen:
            rate, delay = self._configured(link, against)
            self._seen[link, against] = Direction(rate=max(rate, 1.0), delay=delay)
        self._seen[link, against].add(nbytes, seconds, self._network.clock.now())

    def _configured(self, link: str, against: bool) -> tuple[float, float]:
        found = self._network.topology.wires()[link].link
        trace = found.rate.down if against else found.rate.up
        return trace.points[0][1], found.rtt / 2
