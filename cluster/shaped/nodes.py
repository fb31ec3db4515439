"""Ray on a shaped cluster: a head on one node and a raylet on each other, joined over the links.

A node is started, lost and started again by itself. What runs on Ray is not known here; drivers run inside a node too
(``ShapedCluster.command`` with ``environment``), since nothing outside the namespaces reaches the cluster.
"""

import json
import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiflow.cluster.raylets import STORE
from aiflow.cluster.shaped import kernel, roll_call
from aiflow.cluster.shaped.cluster import ShapedCluster, scratch
from aiflow.cluster.topology import TIERS
from aiflow.errors import ClusterError

PORT, DASHBOARD = 6379, 8265
PATIENT = {"agent_register_timeout_ms": 300_000, "worker_register_timeout_seconds": 300}
"""Settings of Ray for a busy machine: a raylet gives itself up after 30 s in which its helpers have not started."""
_AT_ONCE = 2  # raylets that start at the same time: each loads a core
_HEALTH = {
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 5000,  # more than a full queue on a link, or a busy link would look like a dead node
    "health_check_failure_threshold": 3,
    "gcs_rpc_server_reconnect_timeout_s": 300,  # for so long nodes and drivers wait for a lost head to come back
    **PATIENT,
}


class RayNodes:
    """Ray's processes on the nodes of ``cluster``; ``head`` is a node of the best tier unless named.

    ``cpus`` and ``store`` (bytes) are of each node; without ``dashboard`` it starts sooner, but takes no jobs. What the
    head knows lies in a file, so that one that was lost and started again knows the nodes and actors that lived on.
    """

    def __init__(
        self,
        cluster: ShapedCluster,
        head: str | None = None,
        cpus: int = 1,
        store: int = STORE,
        dashboard: bool = True,
    ) -> None:
        best = next(tier for tier in reversed(TIERS) if cluster.topology.on(tier))
        self.cluster, self.head = cluster, head or cluster.topology.on(best)[0]
        self._cpus, self._store, self._dashboard = cpus, store, dashboard
        self.address = f"{cluster.host(self.head).address}:{PORT}"
        self.dashboard = f"http://{cluster.host(self.head).address}:{DASHBOARD}"

    @classmethod
    def of(cls, cluster: ShapedCluster) -> "RayNodes":
        """The Ray that was started on ``cluster``. Raises ClusterError if none was."""
        try:
            return cls(cluster, **json.loads((cluster.folder / "ray").read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ClusterError(f"cluster {cluster.name!r} was started without Ray; start it anew.") from None

    def start(self, deadline: float = 300.0) -> None:
        """Starts the head, then all others, and waits until every node has joined. Raises ClusterError."""
        if os.environ.get("RAY_AUTH_MODE", "token") == "token":
            (self.cluster.folder / "token").write_text(secrets.token_hex(32), encoding="ascii")
            (self.cluster.folder / "token").chmod(0o600)
        facts = {"head": self.head, "cpus": self._cpus, "store": self._store, "dashboard": self._dashboard}
        (self.cluster.folder / "ray").write_text(json.dumps(facts), encoding="utf-8")
        self.start_node(self.head, deadline)
        others = [name for name in self.cluster.hosts if name != self.head]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(lambda name: self.start_node(name, deadline), others):
                pass
        joined = self.joined(len(self.cluster.hosts), deadline)
        if missing := set(self.cluster.hosts) - set(joined):
            raise ClusterError(
                f"nodes {sorted(missing)} did not join within {deadline:g} s; see {scratch(self.cluster.name)}."
            )

    def start_node(self, name: str, deadline: float = 300.0) -> None:
        """Starts Ray on one node, also anew. Raises ClusterError with the end of what Ray said."""
        folder = scratch(self.cluster.name) / str(list(self.cluster.hosts).index(name))
        folder.mkdir(parents=True, exist_ok=True)
        # Ray takes this and the other nodes' processes, which it sees, for a head that still runs.
        (folder / "ray_current_cluster").unlink(missing_ok=True)
        log = folder / "start.log"
        command = self.cluster.command(name, sys.executable, "-m", "ray.scripts.scripts", *self._options(name, folder))
        with log.open("wb") as out:
            try:
                code = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**self.environment(name), **(self._memory() if name == self.head else {})},
                    timeout=deadline,
                    check=False,
                    cwd="/",
                ).returncode
            except subprocess.TimeoutExpired:
                code = -1
        if code:
            said = " ".join(log.read_text(errors="replace").split())[-600:]
            raise ClusterError(f"Ray did not start on node {name!r} ({said or 'it said nothing'}); all it said: {log}")

    def stop_node(self, name: str) -> None:
        """Kills every process on a node at once, as a power cut would; its links stay."""
        kernel.end(self.cluster.pids(name))

    def joined(self, count: int, deadline: float) -> list[str]:
        """Names of the nodes that Ray knows to be alive, as soon as there are ``count``, or after the deadline (s)."""
        ask = [sys.executable, roll_call.__file__, self.address, str(count), str(deadline)]
        try:
            done = subprocess.run(
                self.cluster.command(self.head, *ask),
                env=self.environment(self.head),
                capture_output=True,
                text=True,
                timeout=deadline + 60,
                check=False,
                cwd="/",
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(f"the head on {self.head!r} does not answer at {self.address}.") from None
        if done.returncode:
            raise ClusterError(f"the head on {self.head!r} does not answer: {done.stderr.strip()[-300:]}")
        return sorted(done.stdout.split())

    def environment(self, node: str) -> dict[str, str]:
        """Environment of a process on a node: where the cluster is, and how to be let in."""
        token = self.cluster.folder / "token"
        access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)} if token.exists() else {}
        return {
            **os.environ,
            **(access or {"RAY_AUTH_MODE": "disabled"}),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",  # a job's "python" is this one
            "AIFLOW_NODE_IP": self.cluster.host(node).address,
            "RAY_ADDRESS": self.address,
            "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",  # a busy machine takes longer than the 60 s that Ray allows
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RUNTIME_ENV_RETRY_TIMES": "1",  # what a job cannot have, it is told at once, not after three tries
        }

    def _memory(self) -> dict[str, str]:
        """Where the head keeps what it knows (Ray's embedded store; by default a lost head is a lost cluster)."""
        path = scratch(self.cluster.name) / "head"
        path.mkdir(parents=True, exist_ok=True)
        return {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(path)}

    def _options(self, name: str, folder: Path) -> list[str]:
        host, node = self.cluster.host(name), self.cluster.topology.nodes[name]
        options = [
            "start",
            f"--node-ip-address={host.address}",
            f"--num-cpus={self._cpus}",
            f"--object-store-memory={self._store}",
            f"--temp-dir={folder}",
            f"--labels=aiflow-tier={node.tier},aiflow-node={name}",
            f"--resources={json.dumps(node.resources)}",
            "--disable-usage-stats",
        ]
        if node.memory:
            options.append(f"--memory={int(node.memory)}")
        if name != self.head:
            return [*options, f"--address={self.address}"]
        dashboard = [f"--dashboard-host={host.address}", f"--dashboard-port={DASHBOARD}"]
        dashboard.append(f"--include-dashboard={str(self._dashboard).lower()}")
        return [*options, "--head", f"--port={PORT}", *dashboard, f"--system-config={json.dumps(_HEALTH)}"]
