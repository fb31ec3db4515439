"""A Ray cluster inside this machine: raylets as child processes on 127.0.0.1, gone when this process is gone.

It knows resources, not topologies. Every raylet is started on a thread that lives as long as the cluster: on Linux
Ray's processes die with the thread that started them (PR_SET_PDEATHSIG), so nothing survives even a ``kill -9``.
"""

import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from aiflow.errors import ClusterError

STORE = 80 * 1024 * 1024
"""Bytes of a raylet's object store: close to Ray's minimum, since messages are small."""

TMP = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()  # short: the paths of Ray's sockets are limited
PREFIX = "aiflow-"

# A killed raylet is noticed in about a second (three failed checks); one that is only slow has 2 s for each answer.
_HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 400,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}


def quiet() -> None:
    """Environment of a local cluster: no telemetry, no tokens. Has to come before the first import of ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_timeout_ms_task_wait_for_death_info", "50")  # a caller hears of a death a second sooner
    # Dead nodes are our errors to tell, and many actors on a node no mishap; Ray would print it all among the results.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "The node with node id|Raylet is terminated|worker processes")
    if "ray" not in sys.modules:  # later it would reach the raylets and not this process
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")


class Raylets:
    """A running cluster, one raylet for each map of resources; the first is the head. ``GPU`` counts as Ray's own."""

    def __init__(self, offers: list[Mapping[str, float]], cpus: int, store: int = STORE) -> None:
        _sweep()
        self._folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=TMP)
        self._stop = threading.Event()
        self._nodes: list[Any] = []
        self._numbers = itertools.count()
        try:
            head = self._again(offers[0], cpus, store, self._start(offers[0], cpus, store, head=True), head=True)
            self.address: str = head.gcs_address
            others = [(offer, self._start(offer, cpus, store, head=False)) for offer in offers[1:]]
            for offer, other in others:
                self._again(offer, cpus, store, other, head=False)
        except BaseException as error:
            self.close()
            if isinstance(error, Exception):
                raise ClusterError(
                    f"Ray could not start on this machine: {error} Is it overloaded? Try again, or use one raylet."
                ) from error
            raise

    def close(self) -> None:
        """Stops every process of this cluster, and no other."""
        for node in reversed(self._nodes):
            with contextlib.suppress(Exception):
                node.kill_all_processes(check_alive=False, allow_graceful=True, wait=True)
        self._nodes = []
        self._stop.set()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _again(self, offer: Mapping[str, float], cpus: int, store: int, started: "Future[Any]", *, head: bool) -> Any:
        """The started raylet; a second one where Ray gave the first up, as it does after 30 s on a busy machine."""
        if started.exception():
            started = self._start(offer, cpus, store, head=head)
        self._nodes.append(started.result())
        return started.result()

    def _start(self, offer: Mapping[str, float], cpus: int, store: int, *, head: bool) -> "Future[Any]":
        from ray._private.node import Node
        from ray._private.parameter import RayParams

        own = f"{self._folder}/s/{next(self._numbers)}"
        os.makedirs(f"{self._folder}/s", exist_ok=True)
        resources = {name: amount for name, amount in offer.items() if name != "GPU"}
        params = RayParams(
            num_cpus=cpus,
            num_gpus=int(offer.get("GPU", 0)),
            resources=resources,
            object_store_memory=store,
            node_ip_address="127.0.0.1",
            min_worker_port=0,
            max_worker_port=0,
            include_log_monitor=False,
            plasma_store_socket_name=f"{own}.store",  # Ray's own names collide when two raylets start at once
            raylet_socket_name=f"{own}.raylet",
            **(
                {"temp_dir": self._folder, "include_dashboard": False, "no_monitor": True, "_system_config": _HEALTH}
                if head
                else {"gcs_address": self.address, "node_manager_port": 0, "dashboard_agent_listen_port": None}
            ),
        )
        started: Future[Any] = Future()

        def keep() -> None:
            try:
                started.set_result(Node(params, head=head, shutdown_at_exit=False, spawn_reaper=True))
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                started.set_exception(error)  # and this thread ends, and what it started with it
                return
            self._stop.wait()

        threading.Thread(target=keep, name="aiflow-raylet", daemon=True).start()
        return started


@contextlib.contextmanager
def loopback() -> Iterator[None]:
    """Lets ``ray.init`` accept 127.0.0.1, which it otherwise replaces by an outward address where nothing listens."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _sweep() -> None:
    """Removes the folders of processes that were killed before they could."""
    for folder in Path(TMP).glob(f"{PREFIX}*-*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
