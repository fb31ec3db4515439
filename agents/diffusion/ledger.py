"""What a run cost and what went wrong in it: seconds by node, bytes by link, messages, marks. JSON in, JSON out."""

from typing import Any

from aiflow.cluster.network import Delivery

Trace = dict[str, Any]


class Ledger:
    """Counts one run. ``Ledger(trace)`` goes on where an earlier one stopped.

    ``flows`` are the parties' messages by (from, to, kind), nodes that are the same included; ``control`` counts what
    else crossed between nodes: handles, requests to send. ``marks`` are empty if and only if nothing went wrong.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        said = trace or {}
        self.nodes: dict[str, dict[str, Any]] = {name: dict(node) for name, node in said.get("nodes", {}).items()}
        self.links: dict[str, dict[str, float]] = {name: dict(link) for name, link in said.get("links", {}).items()}
        self.flows: dict[tuple[str, str, str], list[int]] = {
            (f["from"], f["to"], f["kind"]): [f["messages"], f["bytes"]] for f in said.get("flows", [])
        }
        self.control: int = said.get("control", 0)
        self.marks: list[str] = list(said.get("marks", []))
        self.seconds: float = said.get("seconds", 0.0)
        self.link_seconds: float = said.get("link_seconds", 0.0)

    def computed(self, node: str, agent: str, seconds: float) -> None:
        """An agent worked."""
        at = self.nodes.setdefault(node, {"agents": [], "calls": 0, "seconds": 0.0})
        at["calls"] += 1
        at["seconds"] += seconds
        if agent not in at["agents"]:
            at["agents"] = [*at["agents"], agent]

    def flowed(self, source: str, target: str, kind: str, nbytes: int) -> None:
        """A party's message went from a node to a node."""
        flow = self.flows.setdefault((source, target, kind), [0, 0])
        flow[0] += 1
        flow[1] += nbytes

    def crossed(self, delivery: Delivery, *, control: bool = False) -> None:
        """Something crossed links, or none within a node."""
        self.link_seconds += delivery.seconds
        self.control += bool(control and delivery.hops)
        for name, nbytes in delivery.bytes.items():
            link = self.links.setdefault(name, {"bytes": 0, "messages": 0})
            link["bytes"] += nbytes
            link["messages"] += 1

    def mark(self, text: str) -> None:
        """Something went otherwise than it should have."""
        self.marks.append(text)

    def trace(self) -> Trace:
        """All of it as JSON-like values."""
        flows = [
            {"from": source, "to": target, "kind": kind, "messages": n, "bytes": nbytes}
            for (source, target, kind), (n, nbytes) in self.flows.items()
        ]
        crossing = [flow for flow in flows if flow["from"] != flow["to"]]
        return {
            "seconds": self.seconds,
            "link_seconds": self.link_seconds,
            "nodes": {name: dict(node) for name, node in self.nodes.items()},
            "links": {name: dict(link) for name, link in self.links.items()},
            "flows": flows,
            "messages": sum(int(str(flow["messages"])) for flow in crossing),
            "bytes": sum(int(link["bytes"]) for link in self.links.values()),
            "control": self.control,
            "marks": list(self.marks),
        }
