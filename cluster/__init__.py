"""Where things run: tiers, nodes and links; the network that carries messages; Ray that runs the agents."""

from typing import TYPE_CHECKING, Any

from aiflow.cluster.links import EmulatedLink, Traffic
from aiflow.cluster.network import Channel, Delivery, Network
from aiflow.cluster.topology import TIERS, Link, Node, Rates, Tier, Topology, Wire
from aiflow.cluster.traces import Trace

if TYPE_CHECKING:
    from aiflow.cluster.runtime import Place, Runtime

__all__ = [
    "TIERS",
    "Channel",
    "Delivery",
    "EmulatedLink",
    "Link",
    "Network",
    "Node",
    "Place",
    "Rates",
    "Runtime",
    "Tier",
    "Topology",
    "Trace",
    "Traffic",
    "Wire",
]


def __getattr__(name: str) -> Any:
    if name in ("Place", "Runtime"):
        from aiflow.cluster import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
