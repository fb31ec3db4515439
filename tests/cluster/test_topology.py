from pathlib import Path

import pytest

from aiflow.cluster import Link, Node, Topology
from aiflow.errors import TopologyError

HOME = Path(__file__).parents[2] / "examples" / "home.yaml"
NODES = "nodes: {phone: device, edge: edge, cloud: cloud}\n"
GOOD = NODES + "links:\n- {between: [phone, edge], rate: 1 MB/s}\n- {between: [edge, cloud], rate: 1 MB/s}\n"


def rate(text: str) -> str:
    return GOOD.replace("1 MB/s", text, 1)


BAD = {  # YAML text: what the one line must hold: key path, value, remedy
    "": ["nodes", "missing"],
    "hello\n": ["'hello'", "begin with the key 'nodes:'"],
    "nodes: {}": ["nodes: there are no nodes", "'phone: device'"],
    "nodes: [a]": ["nodes: ['a']", "phone: device"],
    "nodes: {1: device}": ["nodes: 1 ", "quote numbers"],
    "nodes: {phone: devise}": ["nodes.phone.tier: 'devise'", "did you mean 'device'?"],
    "nodes: {phone: 5}": ["nodes.phone: 5", "give a tier"],
    "nodes: {phone: {teir: device}}": ["nodes.phone.teir: unknown key", "did you mean 'tier'?"],
    "nodes: {phone: {tier: device, memory: lots}}": ["nodes.phone.memory: 'lots'", "'2 MB'"],
    "nodes: {phone: {tier: device, speed: 0}}": ["nodes.phone.speed: 0", "greater than 0"],
    "nodes: {phone: {tier: device, resources: {camera: -1}}}": ["nodes.phone.resources: camera: -1", "above 0"],
    "nodes: {phone: device, phone: edge}": ["line 1: 'phone' is given twice", "rename"],
    "nodes: {edge: edge, box: edge}\nlinks: [{between: [edge, box], rate: 1}]": ["nodes.edge: 'edge'", "'edge1'"],
    "nodess: {phone: device}": ["nodess: unknown key", "did you mean 'nodes'?"],
    NODES: ["nodes.edge: no links lead from 'phone'", "add one to 'links'"],
    GOOD + "adress: x\n": ["adress: unknown key", "did you mean 'address'?"],
    NODES + "links: {a: b}": ["links: ", "'- between:'"],
    NODES + "links: [5]": ["links[0]: '5' is no link", "{between: [a, b], rate: 1 MB/s}"],
    GOOD.replace("[phone, edge]", "phone"): ["links[0].between: 'phone' is not a pair", "[phone, edge]"],
    GOOD.replace("[phone, edge]", "[phne, edge]"): ["links[0].between: 'phne'", "did you mean 'phone'?"],
    GOOD.replace("[phone, edge]", "[phone, phone]"): ["links[0].between: 'phone'", "two different nodes"],
    GOOD.replace("[phone, edge]", "[device, device]"): ["links[0].between: 'device'", "two different nodes"],
    GOOD + "- {between: [edge, phone], rate: 1}": ["links[2].between: 'edge' and 'phone'", "links[0]; remove one"],
    GOOD.replace(", rate: 1 MB/s", "", 1): ["links[0].rate: missing", "add it"],
    rate("0 B/s"): ["links[0].rate: '0 B/s'", "above 0"],
    rate("1 MBs"): ["links[0].rate: '1 MBs'", "'1 MB/s'"],
    rate("{up: 1 MB/s}"): ["links[0].rate.down: missing"],
    rate("{up: 1 MB/s, down: 0}"): ["links[0].rate.down: 0 ", "above 0"],
    rate("{trac: [[0, 1]]}"): ["links[0].rate.trac: unknown key", "did you mean 'trace'?"],
    rate("[]"): ["links[0].rate.trace: a trace needs points", "[[0, 1 MB/s]"],
    rate("[3]"): ["links[0].rate.trace: 3 is not a point", "[time, rate]"],
    rate("[[1, 1]]"): ["links[0].rate.trace: the first point is at 1 s", "begin at 0"],
    rate("[[0, 1], [-1, 2]]"): ["links[0].rate.trace: -1", ">= 0"],
    rate("[[0, 1], [2, 1], [1, 1]]"): ["links[0].rate.trace: time 1 s follows 2 s", "sort"],
    rate("[[0, 1], [2, 0]]"): ["links[0].rate.trace: the last rate is 0", "above 0"],
    rate("{trace: [[0, 1], [2, 0]], period: 1 s}"): ["links[0].rate.period: 1 s", "longer than the last point"],
    rate("{trace: [[0, 0]], period: 1 s}"): ["links[0].rate.trace: every rate is 0", "above 0"],
    rate("none.csv"): ["links[0].rate.trace: 'none.csv'", "give the path"],
    rate("1 MB/s, rtt: -5 ms"): ["links[0].rtt: '-5 ms'", "'20 ms'"],
    rate("1 MB/s, jitter: soon"): ["links[0].jitter: 'soon'", "'20 ms'"],
    rate("1 MB/s, loss: 100 %"): ["links[0].loss: 100 %", "'2 %'"],
    rate("1 MB/s, loss: 200 %"): ["links[0].loss: '200 %'", "'2 %'"],
    rate("1 MB/s, delay: 1"): ["links[0].delay: unknown key", "'between'"],
    "nodes: {phone: device\nlinks": ["line 2, column 6", "not valid YAML", "check indentation"],
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_topology_is_one_line_with_place_value_and_remedy(text: str) -> None:
    with pytest.raises(TopologyError) as caught:
        Topology.load(text)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("topology: ")
    for part in BAD[text]:
        assert part in line


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.yaml").write_text("nodes: {phone: devise}")
    for path, part in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "directory"),
        (tmp_path / "picture.yaml", "UTF-8"),
        (tmp_path / "bad.yaml", "bad.yaml: nodes.phone.tier: 'devise'"),
    ):
        with pytest.raises(TopologyError, match=str(path)) as caught:
            Topology.load(path)
        assert part in str(caught.value)
        assert "\n" not in str(caught.value)


def test_python_says_the_same() -> None:
    with pytest.raises(TopologyError, match=r"links\[0\]\.rtt: 'x' is not a quantity"):
        Topology(nodes={"a": "edge", "b": "edge"}, links=[{"between": ("a", "b"), "rate": 1, "rtt": "x"}])
    with pytest.raises(TopologyError, match="rat: unknown key; did you mean 'rate'"):
        Link(between=("a", "b"), rat=1)
    with pytest.raises(TopologyError, match="tier: 'fog' is no tier"):
        Node(tier="fog")


def test_the_example_reads_as_it_says() -> None:
    home = Topology.load(HOME)
    assert home.on("device") == ["phone", "tablet", "laptop", "watch", "camera"]
    assert home.nodes["watch"].speed == 0.5
    assert home.nodes["cloud"].memory == 128e9
    wires = home.wires()
    assert list(wires) == ["phone-edge", "tablet-edge", "laptop-edge", "watch-edge", "camera-edge", "edge-cloud"]
    assert wires["phone-edge"].link.rtt == pytest.approx(0.01)
    assert wires["watch-edge"].link.rate.up.rate(0) == 500e3  # the link that names the node goes first


def test_a_tier_linked_to_itself_is_a_mesh() -> None:
    mesh = Topology(nodes=dict.fromkeys("abc", "device"), links=[{"between": ["device", "device"], "rate": 1}])
    assert list(mesh.wires()) == ["a-b", "a-c", "b-c"]


def test_a_trace_may_be_a_csv_file_beside_the_topology(tmp_path: Path) -> None:
    (tmp_path / "lte.csv").write_text("time,rate\n# morning\n0, 1 MB/s\n10, 500000\n")
    (tmp_path / "net.yaml").write_text(rate("lte.csv"))
    up = Topology.load(tmp_path / "net.yaml").links[0].rate.up
    assert up.points == ((0.0, 1e6), (10.0, 5e5))


def test_topologies_do_not_change_and_need_no_ray() -> None:
    topology = Topology.load(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        topology.address = "elsewhere"
