"""What ``aiflow cluster`` does: brings clusters up and down, shows them, and runs commands on their nodes."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from aiflow.cluster.shaped import kernel, plan
from aiflow.cluster.shaped.cluster import STATE, ShapedCluster, clusters, down, scratch
from aiflow.cluster.shaped.nodes import RayNodes
from aiflow.cluster.topology import Link, Topology
from aiflow.errors import ClusterError, UsageError, suggest


def bring_up(topology: Path, *, name: str | None, head: str | None, ray: bool, cpus: int, deadline: float) -> RayNodes:
    """A cluster for a topology file, with Ray on it; nothing of it stays if that fails. Raises ClusterError.

    The cluster's name is the file's unless given.
    """
    plan_of_it = Topology.load(topology)
    if head is not None and head not in plan_of_it.nodes:
        raise UsageError(f"--head {head!r} is no node; {suggest(head, list(plan_of_it.nodes))}")
    cluster = ShapedCluster.up(plan_of_it, name or topology.stem.lower().replace("-", "_")[:16])
    nodes = RayNodes(cluster, head, cpus)
    try:
        if ray:
            nodes.start(deadline)
    except BaseException:
        cluster.down()
        raise
    return nodes


def take_down(name: str | None, *, everything: bool) -> list[str]:
    """Ends one cluster, or all, and says which. Raises ClusterError if the one does not exist."""
    known = clusters()
    if not everything and name is not None and name not in known:
        raise ClusterError(f"there is no cluster {name!r}; {suggest(name, known)}")
    doomed = known if everything else [only(name)]
    for each in doomed:
        down(each)
    return doomed


def only(name: str | None) -> str:
    """The named cluster, or the only one. Raises UsageError if that is not clear."""
    if name is not None:
        return name
    known = clusters()
    if len(known) != 1:
        raise UsageError(f"which cluster? Pass --name; there are {', '.join(known) or 'none'}.")
    return known[0]


def status(name: str) -> dict[str, Any]:
    """The nodes (address, processes, whether Ray knows them) and the links of a cluster, as plain data."""
    cluster = ShapedCluster.find(name)
    ray = RayNodes.of(cluster) if (cluster.folder / "ray").exists() else None
    joined = ray.joined(1, 10.0) if ray and cluster.pids(ray.head) else []
    downs = cluster.links_down()
    return {
        "name": name,
        "address": ray.address if ray else None,
        "dashboard": ray.dashboard if ray else None,
        "nodes": {
            host.name: {
                "tier": cluster.topology.nodes[host.name].tier,
                "address": host.address,
                "processes": len(cluster.pids(host.name)),
                "ray": host.name in joined,
            }
            for host in cluster.hosts.values()
        },
        "links": {
            wire.name: {
                "up": wire.name not in downs,
                "by": "tc" if plan.plain(wire.link) else "tun",
                **_show(wire.link),
            }
            for wire in cluster.topology.wires().values()
        },
    }


def execute(name: str, node: str, command: list[str]) -> NoReturn:
    """Replaces this process by ``command`` on a node, which finds the cluster through its environment."""
    cluster = ShapedCluster.find(name)
    environment = RayNodes.of(cluster).environment(node) if (cluster.folder / "ray").exists() else dict(os.environ)
    line = cluster.command(node, *command)
    sys.stdout.flush()
    os.execvpe(line[0], line, environment)


def leftovers() -> list[str]:
    """What is still there of any cluster: namespaces, folders, shapers. Empty after all were taken down."""
    folders = [str(path) for path in [*STATE.glob("*"), *scratch("").parent.glob(scratch("").name + "*")]]
    return [*kernel.namespaces(), *folders]


def _show(link: Link) -> dict[str, Any]:
    rates = {"rate_up": link.rate.up.points[0][1], "rate_down": link.rate.down.points[0][1]}
    return {**rates, "rtt": link.rtt, "jitter": link.jitter, "loss": link.loss}
