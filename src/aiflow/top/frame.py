"""What ``aiflow top`` shows: one moment of a cluster, as plain data, and what changed since the one before."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class NodeRow:
    """A node. ``cpu`` in percent and ``memory`` (used, of all) in bytes where it is known; ``note``: more in words."""

    tier: str
    state: str
    cpu: float | None = None
    memory: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class LinkRow:
    """A link: bytes/s each way, round-trip seconds, bytes so far, and bytes/s since the last frame."""

    state: str
    rate_up: float
    rate_down: float
    rtt: float
    measured: bool = False
    bytes: int | None = None
    traffic: float | None = None


@dataclass(frozen=True, kw_only=True)
class AgentRow:
    """An agent: what it has to do and what it did. ``speed``: tokens/s that it wrote since the last frame."""

    node: str
    state: str
    model: str = ""
    in_flight: int | None = None
    answered: int | None = None
    errors: int | None = None
    tokens: int | None = None
    speed: float | None = None


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A moment (seconds of a steady clock) of ``source``; ``note``: what is wrong with it, or "."""

    source: str
    moment: float
    nodes: Mapping[str, NodeRow] = field(default_factory=dict)
    links: Mapping[str, LinkRow] = field(default_factory=dict)
    agents: Mapping[str, AgentRow] = field(default_factory=dict)
    note: str = ""

    def after(self, before: "Frame | None") -> "Frame":
        """With what happened since ``before``, and the nodes and agents that are no longer there as gone."""
        if before is None:
            return self
        span = self.moment - before.moment
        links = {
            name: replace(row, traffic=_speed(row, before.links.get(name), "bytes", span))
            for name, row in self.links.items()
        }
        agents = {
            name: replace(row, speed=_speed(row, before.agents.get(name), "tokens", span))
            for name, row in self.agents.items()
        }
        gone_nodes = {n: replace(row, state="gone", cpu=None, memory=None) for n, row in before.nodes.items()}
        gone_agents = {n: replace(row, state="gone", in_flight=0, speed=None) for n, row in before.agents.items()}
        return replace(self, nodes={**gone_nodes, **self.nodes}, links=links, agents={**gone_agents, **agents})

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {key: value for key, value in asdict(self).items() if key != "moment"}


def _speed(row: Any, before: Any, what: str, span: float) -> float | None:
    now, then = getattr(row, what), getattr(before, what, None)
    if now is None or then is None or span <= 0 or now < then:  # it has begun anew
        return None
    return float((now - then) / span)
