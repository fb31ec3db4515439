"""Jobs on a head that does not have aiflow: a graph with agents, a script that is cancelled, one that fails."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiflow.bench.cluster.bare import Head, head
from aiflow.cluster.jobs import Job, Jobs
from aiflow.errors import ClusterError, PlacementError, UsageError

pytestmark = pytest.mark.cluster
AIFLOW = str(Path(sys.executable).parent / "aiflow")
GRAPH = """
def ask(cluster):
    import aiflow
    devices = [cluster.agent("poet", node="phone", model="scripted:a rhyme", about="poems")]
    server = cluster.agent("server", node="cloud", model="scripted:", answers=["merged: a rhyme"])
    return aiflow.device_server(server, devices, select=1, revise=False)
"""
SLEEPER = """
import os, sys, time
print("sleeps", sys.argv[1], "in", os.getpid(), flush=True)
time.sleep(600)
"""
TOPOLOGY = "nodes: {phone: device, cloud: cloud}\nlinks: [{between: [phone, cloud], rate: 1 MB/s}]\n"


@pytest.fixture(scope="module")
def bare() -> Iterator[Head]:
    with head({"aiflow:device": 10, "aiflow:cloud": 10}) as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    for name, text in {
        "graph.py": GRAPH,
        "sleeper.py": SLEEPER,
        "broken.py": "import helpers",
        "two.yaml": TOPOLOGY,
    }.items():
        (folder / name).write_text(textwrap.dedent(text))
    return folder


@pytest.mark.timeout(400)
def test_submit_log_result_and_cancel(bare: Head, files: Path) -> None:
    jobs = Jobs(bare.address)
    sleeper = jobs.submit(Job(command=["python", "sleeper.py", "a b"], files=[files / "sleeper.py"], weights=False))
    broken = jobs.submit(Job(command=["python", "broken.py"], files=[files / "broken.py"], weights=False))
    options = ["--topology", f"{files}/two.yaml", "--address", bare.address, "--no-weights"]
    interrupted = subprocess.Popen(
        [AIFLOW, "submit", f"{files}/sleeper.py", *options[2:], "--cancel-on-interrupt", "--", "here"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # where tests run in the background, it is off
    )
    done = subprocess.run(
        [AIFLOW, "submit", f"{files}/graph.py:ask", *options, "--json", "--", "Say something."],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["result"]["answer"] == "merged: a rhyme"
    assert {step["agent"] for step in answer["result"]["trace"]} == {"poet", "server"}
    assert "places 2 nodes" in done.stderr
    assert "AIFLOW-RESULT" not in done.stderr

    with pytest.raises(ClusterError, match="nodes lack the Python package 'helpers'; install"):
        jobs.follow(broken, print, timeout=200)

    interrupt(interrupted, "sleeps here")
    pid = int(wait_for(lambda: jobs.log(sleeper), "sleeps a b in ").split()[0])
    with pytest.raises(ClusterError, match="is running; wait for it with"):
        jobs.result(sleeper)
    assert jobs.cancel(sleeper)
    assert not jobs.cancel(sleeper)
    assert wait_for(lambda: "" if os.path.exists(f"/proc/{pid}") else "gone.", "gone") == "."
    with pytest.raises(ClusterError, match="was cancelled"):
        jobs.result(sleeper)
    states = {row["id"]: row["state"] for row in jobs.all()}
    assert sorted(states.values()) == ["FAILED", "STOPPED", "STOPPED", "SUCCEEDED"]
    assert [states[job] for job in (sleeper, broken, answer["id"])] == ["STOPPED", "FAILED", "SUCCEEDED"]


@pytest.mark.timeout(400)
def test_what_the_cluster_lacks_is_told_before_anything_is_submitted(bare: Head) -> None:
    jobs = Jobs(bare.address)
    known = len(jobs.all())
    with pytest.raises(PlacementError, match=r"no Ray node has 3 GPU \(most: 0\)"):
        jobs.submit(Job(command=["true"], gpus=3))
    with pytest.raises(UsageError, match="there is no job 'none'"):
        jobs.state("none")
    assert len(jobs.all()) == known


def interrupt(process: "subprocess.Popen[str]", mark: str) -> None:
    """Presses Ctrl-C when the log says ``mark``, and expects the job to be cancelled."""
    assert process.stderr is not None
    while mark not in (line := process.stderr.readline()):
        assert line, "it ended before that"
    process.send_signal(signal.SIGINT)
    assert "was cancelled" in process.communicate(timeout=60)[1]
    assert process.returncode == 130


def wait_for(text: Callable[[], str], mark: str, deadline: float = 100.0) -> str:
    """What follows ``mark`` in a text that it is to appear in."""
    until = time.monotonic() + deadline
    while mark not in (found := text()):
        assert time.monotonic() < until, found
        time.sleep(0.2)
    return found.partition(mark)[2]
