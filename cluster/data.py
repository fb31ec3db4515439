"""A topology as plain data: what JSON and YAML hold, with files of traces read in, one link for each pair of nodes."""

from typing import Any

from aiflow.cluster.topology import Topology, Wire


def topology_data(topology: Topology) -> dict[str, Any]:
    """What ``Topology(**data)`` reads back; nothing in it refers to a file."""
    data = topology.model_dump(mode="json", by_alias=True, exclude={"links"})
    return {**data, "links": [link_data(wire) for wire in topology.wires().values()]}


def link_data(wire: Wire) -> dict[str, Any]:
    """One link, between the two nodes that it joins."""
    return {**wire.link.model_dump(mode="json", by_alias=True), "between": [wire.a, wire.b]}
