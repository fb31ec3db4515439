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
