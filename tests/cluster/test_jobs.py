"""Jobs without a cluster: the wheel that is shipped, results in logs, and what is refused before it is submitted."""

import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aiflow.cluster import Topology
from aiflow.cluster.jobs import checks, client, commands, result, wheel
from aiflow.errors import ClusterError, InputError, PlacementError, UsageError

PAIR = Topology.load("nodes: {phone: device, hall: edge}\nlinks: [{between: [phone, hall], rate: 1}]")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel.pack(weights=False, cache=tmp_path_factory.mktemp("wheels"))


def test_the_wheel_holds_every_room_and_runs_without_the_checkout(packed: Path, tmp_path: Path) -> None:
    names = zipfile.ZipFile(packed).namelist()
    for part in ("aiflow/cli.py", "aiflow/agents/actor.py", "aiflow/nano/__init__.py", "aiflow/examples/home.yaml"):
        assert part in names
    assert not [name for name in names if "__pycache__" in name or name.startswith("aiflow/tests")]
    assert not [name for name in names if name.endswith(".safetensors")]
    code = "import aiflow, aiflow.agents.actor, aiflow.running_job; print(aiflow.__file__)"
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(packed)!r}); {code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.startswith(str(packed)), done.stderr


def test_the_same_content_is_packed_once_under_the_same_name(packed: Path) -> None:
    made = packed.stat().st_mtime_ns
    assert wheel.pack(weights=False, cache=packed.parent) == packed
    assert packed.stat().st_mtime_ns == made
    metadata = next(name for name in zipfile.ZipFile(packed).namelist() if name.endswith("METADATA"))
    assert b"Requires-Dist" not in zipfile.ZipFile(packed).read(metadata)


def test_a_result_is_the_last_marked_line_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    result.report({"n": 1})
    result.report([2])
    log = "begins\n" + capsys.readouterr().out + result.MARK + "{cut"
    assert result.find(log) == [2]
    assert result.find("nothing here") is None
    with pytest.raises(TypeError):
        result.report(object())


def test_lines_arrive_whole_from_pieces() -> None:
    lines = result.Lines()
    assert lines.feed("on") == []
    assert lines.feed(f"e\ntwo\n{result.MARK}1\nth") == ["one", "two"]
    assert lines.end() == ["th"]


@dataclass
class Node:
    resources_total: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


DEVICE, EDGE = Node(labels={"aiflow-tier": "device"}), Node({"CPU": 4.0, "aiflow:edge": 1000.0})


def test_what_a_cluster_has_passes() -> None:
    checks.check([DEVICE, EDGE], PAIR, {"CPU": 4.0})
    checks.check([DEVICE], None, {})


@pytest.mark.parametrize(
    ("nodes", "topology", "wanted", "parts"),
    [
        ([DEVICE], PAIR, {}, ["no Ray node offers 'hall' (tier 'edge')", "--labels aiflow-tier=edge"]),
        ([DEVICE, EDGE], PAIR, {"GPU": 1.0}, ["no Ray node has 1 GPU (most: 0)"]),
        ([EDGE, Node({"lidar": 1.0})], None, {"CPU": 2.0, "lidar": 1.0}, ["all of 2 CPU, 1 lidar"]),
        (
            [DEVICE],
            Topology.load("nodes: {cam: {tier: device, resources: {lens: 2}}}"),
            {},
            ["no Ray node that offers 'cam' has 2 lens (most: 0)"],
        ),
    ],
)
def test_what_is_missing_is_named(
    nodes: list[Node], topology: Topology | None, wanted: dict[str, float], parts: list[str]
) -> None:
    with pytest.raises(PlacementError) as caught:
        checks.check(nodes, topology, wanted)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("message", "log", "part"),
    [
        (
            "exit 1",
            "Traceback\nModuleNotFoundError: No module named 'helpers.text'\n",
            "lack the Python package 'helpers'",
        ),
        ("Failed to set up runtime environment.\nERROR: No matching distribution found for x\nmore", "", "found for x"),
        (
            "Job entrypoint exited with code 1",
            "one\nPlacementError: no Ray node\n\n",
            "failed: PlacementError: no Ray node",
        ),
        ("The actor died", "", "failed: The actor died"),
    ],
)
def test_why_a_job_failed_is_one_line(message: str, log: str, part: str) -> None:
    error = checks.failure("j1", message, log)
    assert isinstance(error, ClusterError)
    assert str(error).startswith("job j1")
    assert part in str(error)


def test_what_a_user_names_becomes_a_command(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text("")
    assert commands.describe(str(script), ["a", "b c"], None, []).command == ["python", "main.py", "a", "b c"]
    job = commands.describe(f"{script}:graph", ["why?"], PAIR, [])
    assert job.command == ["python", "-m", "aiflow.running_job", "main.py:graph", client.TOPOLOGY, "why?"]
    assert job.files == [script]
    assert (job.name, commands.describe(str(script), [], None, []).name) == ("graph", "main")
    with client._folder(job) as folder:
        assert Topology.load(folder / client.TOPOLOGY).nodes == PAIR.nodes
        assert (folder / "main.py").exists()
    for target, arguments, topology, kind, part in (
        ("nowhere.py", [], None, UsageError, "does not exist"),
        (f"{script}:graph", ["q"], None, UsageError, "needs --topology"),
        (f"{script}:graph", [], PAIR, InputError, "takes one question, got 0"),
    ):
        with pytest.raises(kind, match=part):
            commands.describe(target, arguments, topology, [])


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert client.url(None) == "http://127.0.0.1:8265"
    assert client.url("head:8265/") == "http://head:8265"
    with pytest.raises(UsageError, match="is not a dashboard"):
        client.url("ray://head:10001")


def test_a_dashboard_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(ClusterError, match=r"no Ray dashboard answers at http://127\.0\.0\.1:1: "):
        client.Jobs("127.0.0.1:1")
