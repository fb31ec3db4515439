"""Shaped links without Ray: what a topology becomes, the shaper's arithmetic, and real bytes between namespaces."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from aiflow.bench.cluster.transfers import Transfers
from aiflow.cluster import Topology
from aiflow.cluster.shaped import ShapedCluster, clusters, down, kernel, manage, plan, wiring
from aiflow.cluster.shaped.shaper import Direction
from aiflow.errors import ClusterError, TopologyError, UsageError

CHAIN = """
nodes: {phone: device, edge: edge, cloud: cloud}
links:
  - {between: [phone, edge], rate: {up: 20 MB/s, down: 10 MB/s}, rtt: 4 ms}
  - {between: [edge, cloud], rate: 50 MB/s}
"""


def _why_not() -> str:
    try:
        kernel.require()
    except ClusterError as error:
        return str(error)
    return ""


real = pytest.mark.skipif(bool(_why_not()), reason=_why_not())


@pytest.fixture
def name() -> Iterator[str]:
    """A cluster's name of this test's own; whatever has it is gone afterwards."""
    chosen = f"t{uuid.uuid4().hex[:10]}"
    yield chosen
    down(chosen)


@pytest.fixture(scope="module")
def chain() -> Iterator[ShapedCluster]:
    with ShapedCluster.up(CHAIN, f"t{uuid.uuid4().hex[:10]}") as cluster:
        yield cluster


def test_every_node_gets_an_address_and_a_route_to_every_other() -> None:
    hosts = plan.hosts("home", Topology.load(CHAIN))
    assert [host.namespace for host in hosts.values()] == ["aiflow-home-phone", "aiflow-home-edge", "aiflow-home-cloud"]
    phone, edge, cloud = hosts.values()
    assert phone.routes == {edge.address: ("link0", edge.address), cloud.address: ("link0", edge.address)}
    assert edge.routes == {phone.address: ("link0", phone.address), cloud.address: ("link1", cloud.address)}
    assert phone.route(cloud.address, "link0", edge.address).split()[2:5] == [
        f"{cloud.address}/32",
        "via",
        edge.address,
    ]


def test_a_rate_is_what_an_application_gets() -> None:
    link = Topology.load(CHAIN).links[0]
    up = plan.settings(link, True)["up"]
    payload = up["points"][0][1] * (1500 - plan.HEADERS) / 1500
    assert payload == pytest.approx(20e6)
    assert up["delay"] == 0.002 - plan.OWN
    assert plan.plain(Topology.load(CHAIN).links[1])
    assert not plan.plain(link)


def direction(**changes: object) -> tuple[Direction, int]:
    source, target = os.pipe()
    os.set_blocking(source, False)
    made = Direction(-1, target, 0.0)
    made.set({**DEFAULTS, **changes})
    return made, source


DEFAULTS = {"points": [[0, 1000.0]], "period": None, "delay": 0.5, "jitter": 0.0, "loss": 0.0, "limit": 500, "up": True}


def arrived(source: int) -> bytes:
    try:
        return os.read(source, 10_000)
    except BlockingIOError:
        return b""


def test_the_shaper_serialises_then_delays_in_order() -> None:
    way, source = direction()
    way.take(b"a" * 100, 0.0)
    way.take(b"b" * 200, 0.0)
    assert way.advance(0.0) == pytest.approx(0.1)  # the first has left
    assert way.advance(0.1) == pytest.approx(0.3)  # the second has left
    assert way.advance(0.599) == pytest.approx(0.6)
    assert arrived(source) == b""
    way.advance(0.6)
    assert arrived(source) == b"a" * 100
    assert way.advance(0.8) == float("inf")
    assert arrived(source) == b"b" * 200
    assert (way.carried, way.dropped) == (300, 0)


def test_the_shaper_drops_what_the_queue_cannot_hold_and_all_that_is_sent_while_down() -> None:
    way, source = direction()
    for _ in range(7):
        way.take(bytes(100), 0.0)
    assert way.dropped == 2
    way.set({**DEFAULTS, "up": False})
    assert way.dropped == 7
    way.take(bytes(100), 1.0)
    assert way.advance(9.0) == float("inf")
    assert (arrived(source), way.dropped, way.carried) == (b"", 8, 0)


def test_the_shaper_follows_a_rate_that_changes_and_waits_out_an_outage() -> None:
    way, source = direction(points=[[0, 1000.0], [1, 0.0]], period=3.0, delay=0.0)
    for start in (0.95, 1.0):
        way.take(bytes(100), start)
    assert way.advance(1.06) == pytest.approx(3.1)  # begun at 1.05, in the outage; the next cycle begins at 3
    assert len(arrived(source)) == 100
    way.advance(3.2)
    assert len(arrived(source)) == 100


def test_jitter_is_late_within_its_bound_and_loss_a_share() -> None:
    way, _ = direction(points=[[0, 1e9]], jitter=0.1, limit=10**9)
    moments = []
    for number in range(300):
        way.take(bytes(10), float(number))
        moments.append(way.advance(number + 0.001) - number)  # served; on its way
        way.advance(number + 0.9)
    assert 0.5 <= min(moments) < 0.52
    assert 0.58 < max(moments) <= 0.601
    lossy, _ = direction(points=[[0, 1e9]], loss=0.25, limit=10**9, delay=0.0)
    for number in range(1000):
        lossy.take(bytes(10), float(number))
        lossy.advance(number + 0.5)
    assert 180 < lossy.dropped < 320


@pytest.mark.parametrize("name", ["", "a-b", "Home", "x" * 17, "../x"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a cluster"):
        plan.check_name(name)


def test_who_may_not_is_told_so() -> None:
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    code = "import os, aiflow.cluster.shaped as s; os.setuid(65534); s.kernel.require()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "ClusterError: shaped links need root with CAP_NET_ADMIN and CAP_SYS_ADMIN" in done.stderr


def sent(cluster: ShapedCluster, node: str, device: str) -> int:
    file = f"/sys/class/net/{device}/statistics/tx_bytes"
    return int(kernel.run(*cluster.command(node, "cat", file)))


@real
def test_bytes_cross_two_links(chain: ShapedCluster) -> None:
    before = sent(chain, "phone", "link0"), sent(chain, "edge", "link1")
    with Transfers(chain, ["phone", "edge", "cloud"]) as transfers:
        assert transfers.seconds(300_000) > 0.002
    after = sent(chain, "phone", "link0"), sent(chain, "edge", "link1")
    crossed = [now - then for now, then in zip(after, before, strict=True)]
    assert all(300_000 < count < 360_000 for count in crossed), crossed
    assert not chain.pids("edge")  # the packets were forwarded by the kernel


@real
def test_a_rate_holds_in_both_kinds_of_link(chain: ShapedCluster) -> None:
    for a, b, kind in (("phone", "edge", "tun"), ("edge", "cloud", "tc")):
        chain.set_link(a, b, rate="2 MB/s")
        assert manage.status(chain.name)["links"][f"{a}-{b}"]["by"] == kind
        with Transfers(chain, [a, b]) as transfers:
            assert transfers.seconds(400_000) > 0.17  # 0.2 s; how much later is the machine's affair


@real
def test_a_connection_outlives_an_outage_and_a_change_of_kind(chain: ShapedCluster) -> None:
    with Transfers(chain, ["edge", "cloud"]) as transfers:
        transfers.seconds(1000)
        for changes in ({"rtt": "2 ms"}, {"rtt": 0, "rate": "9 MB/s"}):  # to a TUN pair and back
            chain.set_link("cloud", "edge", **changes)
            transfers.seconds(10_000)
            for up in (False, True):
                chain.set_link("edge", "cloud", up=up)
                assert chain.links_down() == ([] if up else ["edge-cloud"])
                code = connects(chain, "edge", "cloud")
                assert code == ("refused" if up else "silence")
            transfers.seconds(10_000)
    assert ShapedCluster.find(chain.name).topology.wires()["edge-cloud"].link.rate.up.points == ((0, 9e6),)


def connects(cluster: ShapedCluster, src: str, dst: str) -> str:
    code = (
        "import socket\ntry: socket.create_connection((%r, 9), timeout=0.7)\n"
        "except ConnectionRefusedError: print('refused')\nexcept TimeoutError: print('silence')"
    )
    address = cluster.host(dst).address
    return kernel.run(*cluster.command(src, sys.executable, "-I", "-S", "-c", code % address)).strip()


@real
def test_what_cannot_be_asked_of_a_cluster(chain: ShapedCluster) -> None:
    with pytest.raises(TopologyError, match="'phne' is no node; did you mean 'phone'"):
        chain.command("phne", "true")
    with pytest.raises(TopologyError, match="no link joins 'phone' and 'cloud'"):
        chain.set_link("phone", "cloud", up=False)
    with pytest.raises(TopologyError, match="ratee: unknown key; did you mean 'rate'"):
        chain.set_link("phone", "edge", ratee=1)
    with pytest.raises(ClusterError, match=f"cluster '{chain.name}' exists"):
        ShapedCluster.up(CHAIN, chain.name)
    with pytest.raises(ClusterError, match="there is no cluster 'nowhere'"):
        ShapedCluster.find("nowhere")


@real
def test_a_cluster_whose_maker_was_killed_can_be_taken_down(name: str) -> None:
    code = (
        "import os, sys, signal\nfrom aiflow.cluster.shaped import ShapedCluster\nimport subprocess\n"
        "made = ShapedCluster.up(sys.argv[1], sys.argv[2])\n"
        "subprocess.Popen(made.command('edge', 'sleep', '600'))\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, CHAIN, name], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert name in clusters()
    cluster = ShapedCluster.find(name)
    [shaper] = wiring.shapers(cluster.folder / "link0.json")
    assert cluster.pids("edge")
    assert manage.take_down(name, everything=False) == [name]
    assert not [left for left in manage.leftovers() if name in left]
    assert not kernel.alive(shaper)
    assert name not in clusters()
    down(name)  # again is nothing


@real
def test_a_cluster_that_fails_half_way_leaves_nothing(name: str) -> None:
    taken = plan.namespace(name, "cloud")
    kernel.run("ip", "netns", "add", taken)
    with pytest.raises(ClusterError, match=r"ip netns add .* failed"):
        ShapedCluster.up(CHAIN, name)
    assert not [left for left in manage.leftovers() if name in left]
