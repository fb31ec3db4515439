"""A cluster that somebody else started: the same topology places actors on it by tier, and leaves it running."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

RAY = str(Path(sys.executable).parent / "ray")
USE = textwrap.dedent(
    """
    import sys
    from aiflow.cluster import Runtime, Topology
    from aiflow.errors import ClusterError

    def home(tier):
        return Topology(nodes={"phone": "device", "far": tier}, links=[{"between": ["phone", "far"], "rate": "1 MB/s"}],
                        address=sys.argv[1])

    class Where:
        def tier(self):
            import ray
            return ray.get_runtime_context().get_node_id()

    import ray
    with Runtime.start(home("cloud")) as runtime:
        places = runtime.nodes()
        for node in ("phone", "far"):
            actor = runtime.place(Where, node)
            assert ray.get(actor.tier.remote(), timeout=60) in places[node].ray_nodes
            print(node, places[node].tier)
    try:
        Runtime.start(home("edge"))
    except ClusterError as error:
        print(error)
    """
)


@pytest.mark.timeout(300)
def test_attaching_places_by_tier_and_names_a_missing_one(tmp_path):
    command = [RAY, "start", "--head", "--port=0", "--num-cpus=1", "--include-dashboard=false", "--block"]
    offers = '--resources={"aiflow:device": 1000, "aiflow:cloud": 1000}'
    log = tmp_path / "head.log"
    folder = Path("/tmp") / f"aiflow-{os.getpid()}-attach"  # short: Ray's sockets lie below it
    with log.open("w") as out:
        head = subprocess.Popen(
            [*command, offers, f"--temp-dir={folder}"], stdout=out, stderr=out, start_new_session=True
        )
    try:
        address = _address(log, head)
        done = subprocess.run(
            [sys.executable, "-c", USE, address], text=True, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[:2] == ["phone device", "far cloud"]
        assert "offers no place for far (edge); start one with: ray start" in done.stdout
        assert head.poll() is None, "the cluster must outlive those who attach"
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait(30)
        subprocess.run(["rm", "-rf", str(folder)], check=False)


def _address(log, head):
    import time

    for _ in range(1000):
        found = re.search(r"--address='([\d.]+:\d+)'", log.read_text())
        if found:
            return found[1]
        assert head.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"ray start did not come up: {log.read_text()}")
