import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aiflow.cluster import Runtime, Topology
from aiflow.cluster.runtime import _check_reachable
from aiflow.errors import ClusterError, PlacementError


def where() -> type:
    class Where:  # in a function, so that it travels by value: the workers cannot import tests
        def __init__(self, word: str = "") -> None:
            self.word = word
            self.calls = 0

        def here(self) -> tuple[str, str, int]:
            import ray

            self.calls += 1
            return ray.get_runtime_context().get_node_id(), self.word, self.calls

        def die(self) -> None:
            os._exit(1)

    return Where


def test_actors_run_on_the_raylet_of_their_node(runtime: Runtime) -> None:
    import ray

    places = runtime.nodes()
    assert len({place.ray_nodes for place in places.values()}) == 3
    for name in ("phone", "watch", "edge", "cloud"):
        actor = runtime.place(where(), name, name)
        assert ray.get(actor.here.remote()) == (places[name].ray_nodes[0], name, 1)
    tier = ray.get(runtime.place(where(), "device").here.remote())[0]
    assert (tier,) == places["phone"].ray_nodes


@pytest.mark.parametrize(
    ("node", "options", "parts"),
    [
        ("phne", {}, ["'phne'", "did you mean 'phone'?"]),
        ("phone", {"num_gpus": 8}, ["'phone'", "{'GPU': 8.0}", "ask for less"]),
        ("phone", {"resources": {"lidar": 1}}, ["lidar", "ask for less"]),
    ],
)
def test_what_cannot_be_placed_is_refused_at_once(
    runtime: Runtime, node: str, options: dict[str, Any], parts: list[str]
) -> None:
    started = time.monotonic()
    with pytest.raises(PlacementError) as caught:
        runtime.place(where(), node, **options)
    assert time.monotonic() - started < 1
    assert all(part in str(caught.value) for part in parts)


def test_runtimes_of_one_process_share_the_cluster(runtime: Runtime) -> None:
    assert runtime.nodes()["phone"].alive
    with Runtime.start(Topology(nodes={"shed": "edge"})) as second:  # shares the cluster: the tier is there
        assert second.nodes()["shed"].ray_nodes == runtime.nodes()["edge"].ray_nodes
        with pytest.raises(PlacementError, match="is no node"):
            second.place(where(), "phone")
    with pytest.raises(ClusterError, match="closed"):
        second.nodes()
    assert runtime.nodes()["phone"].alive  # still open


def test_another_cluster_in_one_process_is_refused(runtime: Runtime) -> None:
    assert runtime.nodes()
    with pytest.raises(ClusterError, match=r"not 10\.0\.0\.1:6379; close the first"):
        Runtime.start(Topology(nodes={"a": "edge"}, address="10.0.0.1:6379"))


def test_a_dead_actor_restarts_with_its_arguments(runtime: Runtime) -> None:
    import ray

    actor = runtime.place(where(), "edge", "again")
    before = ray.get(actor.here.remote())
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.die.remote())
    for _ in range(100):
        try:
            assert ray.get(actor.here.remote(), timeout=20) == before
            return
        except ray.exceptions.ActorUnavailableError:
            time.sleep(0.1)
    raise AssertionError("the actor did not come back")


SCRIPT = """
import os, signal, sys, time
from aiflow.cluster import Runtime
from aiflow.errors import PlacementError
pair = "nodes: {{phone: device, edge: edge}}\\nlinks: [{{between: [phone, edge], rate: 1}}]"
runtime = Runtime.start(pair, {options})
import ray
from aiflow.cluster import runtime as module
print(module._session.raylets._folder, flush=True)
{body}
"""
DEATH = """
os.kill(module._session.raylets._nodes[1].all_processes["raylet"][0].process.pid, signal.SIGKILL)
began = time.monotonic()
while runtime.nodes()["phone"].alive and time.monotonic() - began < 20: time.sleep(0.02)
print("noticed", time.monotonic() - began)
try: runtime.place(object, "phone")
except PlacementError as error: print(error)
"""


def processes(folder: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if folder in (entry / "cmdline").read_text():
                    found.append(entry.name)
            except OSError:
                continue
    return found


def gone(folder: str) -> bool:
    for _ in range(100):
        if not processes(folder):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("body", ["runtime.close(); runtime.close()", "raise SystemExit(3)", "os.kill(os.getpid(), 9)"])
def test_no_process_stays_behind(body: str) -> None:
    script = SCRIPT.format(options='nodes="single"', body=f"assert runtime.nodes()['phone'].alive\n{body}")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode in (0, 3, -signal.SIGKILL), done.stderr
    assert done.stderr == ""
    folder = done.stdout.strip()
    assert gone(folder)
    assert "9" in body or not Path(folder).exists()


def test_a_killed_raylet_is_noticed_and_refused() -> None:
    script = SCRIPT.format(options="", body=DEATH)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True)
    folder, noticed, error = done.stdout.splitlines()  # and nothing of Ray's own
    assert float(noticed.split()[1]) < 4  # about 1 s; 2-core machines under load need their time
    assert "no Ray node offers 'phone' (tier 'device') now; start one with: ray start" in error
    assert gone(folder)


@pytest.mark.parametrize(("address", "part"), [("127.0.0.1:1", "no Ray cluster answers"), ("ray://x:1", "HOST:PORT")])
def test_an_address_where_nothing_answers_is_refused_at_once(address: str, part: str) -> None:
    with pytest.raises(ClusterError, match=part) as caught:
        _check_reachable(address)
    assert repr(address) in str(caught.value)
