"""Whether a cluster can run a job at all, asked before it is submitted; and why a job failed, in one line.

Ray itself would let a job wait for many minutes for what is not there.
"""

import re
from collections.abc import Mapping
from typing import Any

from aiflow.cluster.runtime import _hosts, _remedy
from aiflow.cluster.topology import Topology
from aiflow.errors import ClusterError, PlacementError


def check(nodes: list[Any], topology: Topology | None, wanted: Mapping[str, float]) -> None:
    """Raises PlacementError that names what is missing.

    ``nodes``: the living ones, as Ray's state API lists them. ``topology``: every node of it needs a place, with its
    own resources there. ``wanted``: what the job's own process takes, of one node.
    """
    alive = [{"Resources": dict(node.resources_total or {}), "Labels": dict(node.labels or {})} for node in nodes]
    for name, node in topology.nodes.items() if topology else ():
        found = _hosts(alive, name, node.tier)[0]
        if not found:
            raise PlacementError(f"no Ray node offers {name!r} (tier {node.tier!r}); {_remedy(node.tier)}")
        _one_has(found, node.resources, f"no Ray node that offers {name!r}")
    _one_has(alive, wanted, "no Ray node")


def _one_has(nodes: list[dict[str, Any]], wanted: Mapping[str, float], who: str) -> None:
    if any(all(node["Resources"].get(key, 0.0) >= amount for key, amount in wanted.items()) for node in nodes):
        return
    most = {key: max((node["Resources"].get(key, 0.0) for node in nodes), default=0.0) for key in wanted}
    lacking = [f"{amount:g} {key} (most: {most[key]:g})" for key, amount in wanted.items() if amount > most[key]]
    what = ", ".join(lacking) or "all of " + ", ".join(f"{amount:g} {key}" for key, amount in wanted.items())
    raise PlacementError(f"{who} has {what}; ask for less, or add such a node.")


def failure(job: str, message: str, log: str) -> ClusterError:
    """The error for a job that failed: the reason that the log, or Ray's message, holds."""
    if found := re.findall(r"No module named '([\w.]+)'", f"{log}\n{message}"):
        name = found[-1].partition(".")[0]
        return ClusterError(
            f"job {job}: the cluster's nodes lack the Python package {name!r}; install it for the python that is first "
            f"on the PATH there, or ship your own module: --with {name}.py."
        )
    if environment := setup_reason(message):
        return ClusterError(f"job {job}: its runtime environment could not be set up: {environment}")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = lines[-1] if lines else (message.strip().splitlines() or ["it said nothing"])[-1]
    return ClusterError(f"job {job} failed: {said[:300]}")


def setup_reason(message: str) -> str:
    """The decisive line of a message about a runtime environment; empty if the message is about something else."""
    if not re.search(r"runtime.?env", message, re.IGNORECASE):
        return ""
    lines = [line.strip() for line in message.replace("\\n", "\n").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|\w*Error)\b", line)]
    return (errors or lines)[-1][:300]
