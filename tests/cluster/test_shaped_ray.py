"""Ray across namespaces: an actor on a node behind a shaped link, and a node that is lost and comes back."""

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from aiflow.cluster.shaped import ShapedCluster, down, kernel
from aiflow.cluster.shaped.nodes import RayNodes
from aiflow.errors import ClusterError

pytestmark = pytest.mark.cluster
TEXT = (
    "nodes: {phone: {tier: device, memory: 2 GB, resources: {camera: 1}}, cloud: cloud}\n"
    "links: [{between: [phone, cloud], rate: 20 MB/s, rtt: 6 ms}]"
)
DRIVER = """
import sys, ray
from aiflow.cluster import Runtime, Topology
class Camera:
    def here(self, data): return ray.util.get_node_ip_address(), len(data)
with Runtime.start(Topology.load(sys.argv[1]).model_copy(update={"address": "auto"})) as runtime:
    camera = runtime.place(Camera, "phone", resources={"camera": 1})
    print(*ray.get(camera.here.remote(bytes(50_000)), timeout=100))
    print(ray.get_runtime_context().get_node_id() in runtime.nodes()["cloud"].ray_nodes)
"""

SURVIVOR = """
import sys, time, ray
from aiflow.cluster import Runtime, Topology
class Counter:
    def __init__(self): self.count = 0
    def add(self):
        self.count += 1
        return self.count
with Runtime.start(Topology.load(sys.argv[1]).model_copy(update={"address": "auto"})) as runtime:
    counter = runtime.place(Counter, "phone")
    print("ready", flush=True)
    for line in sys.stdin:
        print(ray.get(counter.add.remote(), timeout=5), flush=True)
        if line.strip() == "new":
            there = runtime.place(Counter, "cloud")
            print("new", ray.get(there.add.remote(), timeout=60), flush=True)
"""


def _allowed() -> bool:
    try:
        kernel.require()
    except ClusterError:
        return False
    return True


@pytest.fixture
def cluster() -> Iterator[ShapedCluster]:
    name = f"r{uuid.uuid4().hex[:10]}"
    try:
        yield ShapedCluster.up(TEXT, name)
    finally:
        down(name)


@pytest.mark.skipif(not _allowed(), reason="needs Linux, root and iproute2")
@pytest.mark.timeout(400)
def test_an_actor_behind_a_shaped_link(cluster: ShapedCluster) -> None:
    nodes = RayNodes(cluster, dashboard=False)
    nodes.start(deadline=150)
    assert nodes.joined(2, 10) == ["cloud", "phone"]
    file = "/sys/class/net/link0/statistics/tx_bytes"
    before = int(kernel.run(*cluster.command("cloud", "cat", file)))
    done = subprocess.run(
        cluster.command("cloud", sys.executable, "-c", DRIVER, TEXT),
        env=RayNodes.of(cluster).environment("cloud"),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{cluster.host('phone').address} 50000", "True"], done.stderr
    assert int(kernel.run(*cluster.command("cloud", "cat", file))) - before > 50_000
    nodes.stop_node("phone")
    assert cluster.pids("phone") == []
    nodes.start_node("phone", deadline=100)
    assert "phone" in nodes.joined(2, 60)


@pytest.mark.skipif(not _allowed(), reason="needs Linux, root and iproute2")
@pytest.mark.timeout(400)
def test_actors_live_on_without_their_head(cluster: ShapedCluster) -> None:
    nodes = RayNodes(cluster, dashboard=False)
    nodes.start(deadline=150)
    command = cluster.command("phone", sys.executable, "-c", SURVIVOR, TEXT)
    driver = subprocess.Popen(
        command, env=nodes.environment("phone"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(word: str = "") -> str:
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdin.write(f"{word}\n")
        driver.stdin.flush()
        return driver.stdout.readline().strip()

    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        assert ask() == "1"
        nodes.stop_node("cloud")
        assert [ask() for _ in range(3)] == ["2", "3", "4"]
        nodes.start_node("cloud", deadline=100)
        assert nodes.joined(2, 60) == ["cloud", "phone"]
        assert ask("new") == "5"  # the same actor, with its state
        assert driver.stdout.readline() == "new 1\n"
    finally:
        driver.kill()
        driver.wait(30)
