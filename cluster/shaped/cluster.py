"""A topology as network namespaces on this machine: every node its own, every link shaped, changeable while it is up.

What runs in the nodes is not known here (see ``nodes`` for Ray). All that exists is in the kernel and in one folder, so
any process can find it, change it and take it down, also after the one that made it was killed.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiflow.cluster.data import link_data, topology_data
from aiflow.cluster.shaped import kernel, plan, wiring
from aiflow.cluster.shaped.plan import Host
from aiflow.cluster.topology import Topology, Wire
from aiflow.errors import ClusterError, TopologyError, suggest

STATE = Path("/run/aiflow")  # as lasting as the namespaces: both are gone after a restart of the machine

# Forwarding between links; a connection that rested keeps its window, and none inherits one from an earlier connection.
# The usual congestion control whatever the machine's own is: another, BBR, pauses for 0.2 s in every 10 s.
_SYSCTL = (
    "echo 1 > ip_forward; echo 0 > tcp_slow_start_after_idle; echo 1 > tcp_no_metrics_save; "
    "echo cubic > tcp_congestion_control || echo reno > tcp_congestion_control"
)


class ShapedCluster:
    """A cluster that is up. ``up`` makes one, ``find`` opens one; ``down`` or a ``with`` block ends it."""

    def __init__(self, name: str, topology: Topology, made_for: Topology | None = None) -> None:
        self.name, self.topology, self.folder = name, topology, STATE / name
        self.hosts = plan.hosts(name, made_for or topology)  # routes stay as they were made when links change
        self._devices = plan.devices(topology)

    @classmethod
    def up(cls, topology: Topology | str | Path, name: str) -> Self:
        """Makes the namespaces and links. Raises UsageError, ClusterError (also if the name is taken)."""
        plan.check_name(name)
        kernel.require()
        made = cls(name, topology if isinstance(topology, Topology) else Topology.load(topology))
        STATE.mkdir(mode=0o755, exist_ok=True)
        try:
            made.folder.mkdir(mode=0o700)
        except FileExistsError:
            raise ClusterError(f"cluster {name!r} exists; end it with: aiflow cluster down {name}") from None
        try:
            data = topology_data(made.topology)
            made._write({"topology": data, "made_for": data, "down": []})
            for host in made.hosts.values():
                _make(host)
            made._tune()
            for wire in made.topology.wires().values():
                made._lay(wire, True)
        except BaseException:
            down(name)
            raise
        return made

    @classmethod
    def find(cls, name: str) -> Self:
        """The cluster of that name. Raises ClusterError if there is none."""
        kernel.require()
        try:
            state = json.loads((STATE / plan.check_name(name) / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ClusterError(f"there is no cluster {name!r}; {suggest(name, clusters())}") from None
        return cls(name, Topology(**state["topology"]), Topology(**state["made_for"]))

    def command(self, node: str, *command: str) -> list[str]:
        """The command line that runs ``command`` on a node. Raises TopologyError."""
        return kernel.inside(self.host(node).namespace, *command)

    def host(self, node: str) -> Host:
        """A node in the kernel. Raises TopologyError for an unknown one."""
        if node not in self.hosts:
            raise TopologyError(f"{node!r} is no node; {suggest(node, list(self.hosts))}")
        return self.hosts[node]

    def pids(self, node: str) -> list[int]:
        """Processes that run on a node."""
        return kernel.pids(self.host(node).namespace)

    def set_link(self, a: str, b: str, *, up: bool | None = None, **changes: Any) -> None:
        """Changes the link between two neighbours: ``rate``, ``rtt``, ``jitter``, ``loss`` as in a topology file.

        A rate counts ``up`` from the link's own first end. ``up=False`` loses whatever is sent, silently, until
        ``up=True``. Raises TopologyError, ClusterError.
        """
        with self._state() as state:
            topology = Topology(**state["topology"])
            wire = _wire(topology, a, b)
            link = type(wire.link)(**{**link_data(wire), **changes})
            state["topology"]["links"] = [
                link_data(other if other.name != wire.name else other.model_copy(update={"link": link}))
                for other in topology.wires().values()
            ]
            downs = set(state["down"]) - ({wire.name} if up else set()) | (set() if up in (None, True) else {wire.name})
            state["down"] = sorted(downs)
            self.topology = Topology(**state["topology"])
            self._lay(self.topology.wires()[wire.name], wire.name not in downs)
            if plan.window(self.topology) != plan.window(topology):
                self._tune()

    def links_down(self) -> list[str]:
        """Names of the links that were set down."""
        return list(json.loads((self.folder / "state.json").read_text(encoding="utf-8"))["down"])

    def down(self) -> None:
        """Ends every process of the cluster and removes all of it."""
        down(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _tune(self) -> None:
        for host in self.hosts.values():
            line = f"echo 4096 131072 {plan.window(self.topology)} > /proc/sys/net/ipv4/tcp_rmem"
            kernel.run(*kernel.inside(host.namespace, "sh", "-c", line))

    def _lay(self, wire: Wire, up: bool) -> None:
        device = self._devices[wire.name]
        wiring.lay(wire.link, up, plan.ends(wire, self.hosts), device, self.folder / f"{device}.json")

    @contextlib.contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        """The state, to be changed by one process at a time."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
            yield state
            self._write(state)

    def _write(self, state: dict[str, Any]) -> None:
        new = self.folder / "state.new"
        new.write_text(json.dumps(state), encoding="utf-8")
        os.replace(new, self.folder / "state.json")


def clusters() -> list[str]:
    """Names of the clusters on this machine, also of half-made ones. Raises ClusterError."""
    kernel.require()
    left = {name.removeprefix(kernel.PREFIX).partition("-")[0] for name in kernel.namespaces()}
    return sorted(left | {folder.name for folder in STATE.glob("*") if folder.is_dir()})


def down(name: str) -> None:
    """Removes a cluster, whatever state it is in; nothing happens if there is none. Raises ClusterError."""
    plan.check_name(name)
    kernel.require()
    spaces = kernel.namespaces(plan.namespace(name, ""))
    for space in spaces:
        kernel.end(kernel.pids(space))
    for file in (STATE / name).glob("*.json"):
        kernel.end(wiring.shapers(file))
    for space in spaces:
        kernel.end(kernel.pids(space))  # what was started meanwhile
        kernel.run("ip", "netns", "del", space)
    shutil.rmtree(STATE / name, ignore_errors=True)
    shutil.rmtree(scratch(name), ignore_errors=True)


def scratch(name: str) -> Path:
    """The folder for files that may be large, with a short path (Ray's sockets lie in it)."""
    return Path(f"/tmp/aiflow-net-{name}")


def _wire(topology: Topology, a: str, b: str) -> Wire:
    wires = topology.wires()
    for wire in wires.values():
        if {wire.a, wire.b} == {a, b}:
            return wire
    raise TopologyError(f"no link joins {a!r} and {b!r}; {suggest(f'{a}-{b}', list(wires))}")


def _make(host: Host) -> None:
    kernel.run("ip", "netns", "add", host.namespace)
    kernel.ip(host.namespace, ["link set lo up", f"addr add {host.address}/32 dev lo"])
    kernel.run(*kernel.inside(host.namespace, "sh", "-c", f"cd /proc/sys/net/ipv4 && {{ {_SYSCTL}; }}"))
