"""Ray with a topology: starts or joins a cluster and places actors on the nodes that the topology names.

A Ray node offers a topology node by the resource ``aiflow:NAME`` or the label ``aiflow-node=NAME``, and a tier by
``aiflow:TIER`` or ``aiflow-tier=TIER``; a topology node that no Ray node offers by name may run on any of its tier. To
build a cluster by hand, start Ray on each machine with its tier (and its name, where it matters)::

    ray start --head --labels aiflow-tier=cloud,aiflow-node=cloud
    ray start --address=HEAD:6379 --labels aiflow-tier=edge

What the actors do, and what crosses the links, is not known here.
"""

import atexit
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from aiflow.cluster.raylets import STORE, Raylets, loopback, quiet
from aiflow.cluster.topology import TIERS, Topology
from aiflow.errors import ClusterError, PlacementError, suggest

PREFIX = "aiflow:"
SHARE = 0.001
"""What an actor takes of a node's resource: a marker of the place, not an amount of anything."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A topology node in the cluster: its tier, and the Ray nodes (by id) that an actor for it can run on now."""

    name: str
    tier: str
    ray_nodes: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """True if an actor can be placed."""
        return bool(self.ray_nodes)


@dataclass
class _Session:
    """This process's one connection to Ray. ``raylets`` is None for a cluster that is not ours."""

    address: str
    raylets: Raylets | None
    ours: bool  # False if the caller had called ray.init before us
    users: int = 0


_lock = threading.RLock()
_session: _Session | None = None


class Runtime:
    """Ray under a topology. Use ``Runtime.start``, and ``close`` or a ``with`` block at the end.

    Ray allows one connection per process: runtimes that are alive at the same time share it, whatever their topologies,
    as long as the cluster offers their tiers; the last one to close ends it. A connection that the caller made by
    ``ray.init`` is used and left open.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._open = True

    @classmethod
    def start(
        cls,
        topology: Topology | str | Path,
        *,
        nodes: Literal["tiers", "single"] = "tiers",
        cpus: int = 1,
        store: int = STORE,
        partial: bool = False,
    ) -> Self:
        """Joins the cluster at ``topology.address``, or starts one here with a raylet for each tier.

        ``nodes="single"`` starts one raylet that offers every tier: faster, but no tier can be lost alone. ``cpus`` and
        ``store`` (bytes) are per raylet. ``partial``: go on where nodes are missing, which may come later. Raises
        TopologyError, and ClusterError when the cluster cannot be reached or does not offer a node.
        """
        runtime = cls(topology if isinstance(topology, Topology) else Topology.load(topology))
        with _lock:
            _acquire(runtime.topology, nodes, cpus, store)
        try:
            missing = [place for place in runtime.nodes().values() if not place.alive]
            if missing and not partial:
                names = ", ".join(f"{place.name} ({place.tier})" for place in missing)
                raise ClusterError(f"the Ray cluster offers no place for {names}; {_remedy(missing[0].tier)}")
        except BaseException:
            runtime.close()
            raise
        return runtime

    def nodes(self) -> dict[str, Place]:
        """Every node of the topology and where in the cluster it can run at this moment."""
        found = self._alive()
        return {
            name: Place(
                name=name, tier=node.tier, ray_nodes=tuple(n["NodeID"] for n in _hosts(found, name, node.tier)[0])
            )
            for name, node in self.topology.nodes.items()
        }

    def place(
        self, actor_class: Any, node: str, *args: Any, name: str | None = None, max_restarts: int = -1, **options: Any
    ) -> Any:
        """Starts ``actor_class(*args)`` on a node (or on any node of a tier) and returns its handle at once.

        ``actor_class`` is a class, decorated by ``ray.remote`` or not; ``options`` are those of Ray's
        ``ActorClass.options``. Unless they say otherwise it takes no CPU, and calls are not retried. Raises
        PlacementError if no living Ray node offers the place and what the options ask for.
        """
        import ray

        if node in self.topology.nodes:
            tier: str = self.topology.nodes[node].tier
        elif node in TIERS:
            tier = node
        else:
            raise PlacementError(f"{node!r} is no node of the topology; {suggest(node, list(self.topology.nodes))}")
        hosts, demand = _hosts(self._alive(), node, tier)
        if not hosts:
            raise PlacementError(f"no Ray node offers {node!r} (tier {tier!r}) now; {_remedy(tier)}")
        wanted = _wanted(options)
        if not any(all(host["Resources"].get(k, 0.0) >= v for k, v in wanted.items()) for host in hosts):
            raise PlacementError(f"no Ray node that offers {node!r} has {wanted}; ask for less, or add such a node.")
        merged = {key: {**value, **options.pop(key, {})} for key, value in demand.items()}
        remote = actor_class if hasattr(actor_class, "options") else ray.remote(actor_class)
        settings = {"num_cpus": 0, "max_task_retries": 0, **merged, **options}
        return remote.options(name=name, max_restarts=max_restarts, **settings).remote(*args)

    def close(self) -> None:
        """Lets go of Ray; the last runtime of the process ends its actors and a local cluster. May be called twice."""
        with _lock:
            if self._open:
                self._open = False
                _release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _alive(self) -> list[dict[str, Any]]:
        import ray

        if not self._open or not ray.is_initialized():
            raise ClusterError("this runtime is closed; start another one with Runtime.start.")
        return [node for node in ray.nodes() if node["Alive"]]


def cluster_id(address: str) -> str:
    """Which cluster has its head at HOST:PORT: the same as long as the head knows its nodes and actors.

    Raises ClusterError if none answers within some seconds.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import RayError

    _check_reachable(address)
    try:
        return str(GcsClient(address=address).cluster_id.hex())
    except (RayError, RuntimeError, OSError) as error:
        raise ClusterError(f"the head at {address} does not say which cluster it has: {error}") from error


def _acquire(topology: Topology, nodes: str, cpus: int, store: int) -> None:
    global _session
    if _session is None:
        _session = _connect(topology, nodes, cpus, store)
    elif topology.address not in (None, _session.address):
        raise ClusterError(
            f"this process is connected to the Ray cluster at {_session.address}, not {topology.address}; "
            "close the first Runtime, or use another process."
        )
    _session.users += 1


def _release() -> None:
    global _session
    if _session is None:
        return
    _session.users -= 1
    if _session.users == 0:
        session, _session = _session, None
        _end(session)


def _connect(topology: Topology, nodes: str, cpus: int, store: int) -> _Session:
    if topology.address is None:
        quiet()
    import ray

    if ray.is_initialized():
        address = ray.get_runtime_context().gcs_address
        if topology.address not in (None, address):
            raise ClusterError(f"ray.init has connected this process to {address}; call ray.shutdown() first.")
        return _Session(address=address, raylets=None, ours=False)
    if topology.address:
        _check_reachable(topology.address)
    raylets = None if topology.address else Raylets(_offers(topology, nodes), cpus, store)
    session = _Session(address=raylets.address if raylets else str(topology.address), raylets=raylets, ours=True)
    try:
        if raylets:
            with loopback():
                _init(session.address)
        else:
            _init(session.address)
    except BaseException as error:
        _end(session)
        if isinstance(error, Exception):
            raise ClusterError(f"no Ray cluster answers at {session.address!r}: {error}") from error
        raise
    return session


def _check_reachable(address: str) -> None:
    # Ray itself would try for more than a minute.
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit() or "/" in host:
        raise ClusterError(f"address {address!r} is not usable; write the head's HOST:PORT, like '10.0.0.1:6379'.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster answers at {address!r} ({error}); see that its head runs there.") from None


def _init(address: str) -> None:
    import ray

    here = os.environ.get("AIFLOW_NODE_IP")  # where one machine holds several nodes, Ray cannot tell which is ours
    ray.init(address=address, namespace="aiflow", log_to_driver=False, logging_level="ERROR", _node_ip_address=here)


def _end(session: _Session) -> None:
    import ray

    try:
        if session.ours:
            ray.shutdown()
    finally:
        if session.raylets:
            session.raylets.close()


@atexit.register
def _exit() -> None:
    global _session
    with _lock:
        if _session is not None:
            session, _session = _session, None
            _end(session)


def _offers(topology: Topology, nodes: str) -> list[Mapping[str, float]]:
    tiers = [tier for tier in reversed(TIERS) if topology.on(tier)]  # the best-connected tier carries the head
    offers: list[dict[str, float]] = []
    for tier in tiers:
        offer: dict[str, float] = {PREFIX + tier: 1000.0}
        for name in topology.on(tier):
            offer[PREFIX + name] = 1000.0
            for resource, amount in topology.nodes[name].resources.items():
                offer[resource] = offer.get(resource, 0.0) + amount
        offers.append(offer)
    if nodes == "single":
        return [{key: sum(offer.get(key, 0.0) for offer in offers) for offer in offers for key in offer}]
    return list(offers)


def _hosts(alive: list[dict[str, Any]], name: str, tier: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The Ray nodes for a topology node, and the Ray options that keep an actor on them, also when it restarts."""
    on_tier = [
        node for node in alive if PREFIX + tier in node["Resources"] or node["Labels"].get("aiflow-tier") == tier
    ]
    for key, wish in (("node", name), ("tier", tier)):
        if by_resource := [node for node in on_tier if PREFIX + wish in node["Resources"]]:
            return by_resource, {"resources": dict.fromkeys({PREFIX + wish}, SHARE)}
        if by_label := [node for node in on_tier if node["Labels"].get(f"aiflow-{key}") == wish]:
            return by_label, {"label_selector": {f"aiflow-{key}": wish}}
    return [], {}


def _wanted(options: Mapping[str, Any]) -> dict[str, float]:
    amounts = {"CPU": options.get("num_cpus"), "GPU": options.get("num_gpus"), "memory": options.get("memory")}
    return {key: float(value) for key, value in {**amounts, **options.get("resources", {})}.items() if value}


def _remedy(tier: str) -> str:
    return f"start one with: ray start --address=HEAD:PORT --labels aiflow-tier={tier}"
