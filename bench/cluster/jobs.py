"""Jobs on a separate head without aiflow: seconds to submit, to the first log line, to the result, to cancel.

Also how soon a user hears what is wrong: a missing tier, a missing GPU, a package that cannot be installed.
"""

import json as jsonlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiflow.bench.cluster.bare import Head, head
from aiflow.cluster import Topology
from aiflow.cluster.jobs import Job, Jobs, commands, wheel
from aiflow.errors import AiflowError, ClusterError

GRAPH = """
def ask(cluster):
    import aiflow
    poet = cluster.agent("poet", node="phone", model="scripted:a rhyme", about="poems")
    server = cluster.agent("server", node="cloud", model="scripted:a merged answer")
    return aiflow.device_server(server, [poet], select=1, revise=False)
"""
SCRIPT = "import sys, time\nprint('begins', flush=True)\ntime.sleep(float(sys.argv[1]))\n"
NODES = "nodes: {phone: device, cloud: cloud}\nlinks: [{between: [phone, cloud], rate: 1 MB/s}]"


def main(*, repeats: int = 3, json: bool = False) -> None:
    """Prints seconds for each thing, and what the messages were."""
    with tempfile.TemporaryDirectory() as name, head({"aiflow:device": 100, "aiflow:cloud": 100}) as started:
        graph, script = Path(name) / "graph.py", Path(name) / "script.py"
        graph.write_text(GRAPH, encoding="utf-8")
        script.write_text(SCRIPT, encoding="utf-8")
        found = _measure(started, graph, script, repeats)
    for key, value in found.items():
        print(f"{key:<32} {value if isinstance(value, str) else f'{value:.2f} s'}")
    if json:
        print(jsonlib.dumps(found))


def _measure(started: Head, graph: Path, script: Path, repeats: int) -> dict[str, Any]:
    begun = time.perf_counter()
    size = wheel.pack().stat().st_size
    packing = time.perf_counter() - begun
    jobs = Jobs(started.address)
    asked = commands.describe(f"{graph}:ask", ["Well?"], Topology.load(NODES), [])
    runs = [_run(jobs, asked) for _ in range(repeats)]
    if any(run["result"]["answer"] != "a merged answer" for run in runs):
        raise ClusterError(f"a job came back with another answer: {runs}")
    later = {key: min(run[key] for run in runs[1:] or runs) for key in ("submit_s", "first_line_s", "result_s")}
    return {
        "wheel": f"{size / 1e6:.1f} MB",
        "wheel_s": packing,
        "head_start_s": started.start_s,
        **{f"first_{key}": runs[0][key] for key in later},
        **later,
        "cancel_s": _cancel(jobs, Job(command=["python", script.name, "600"], files=[script])),
        **_refusals(jobs, asked, script),
    }


def _run(jobs: Jobs, job: Job) -> dict[str, Any]:
    begun = time.perf_counter()
    number = jobs.submit(job)
    submitted = time.perf_counter() - begun
    first: list[float] = []

    def say(line: str) -> None:
        if line.startswith("places") and not first:
            first.append(time.perf_counter() - begun)

    result = jobs.follow(number, say, timeout=300)
    whole = time.perf_counter() - begun
    return {"submit_s": submitted, "first_line_s": first[0], "result_s": whole, "result": result}


def _cancel(jobs: Jobs, job: Job) -> float:
    number, until = jobs.submit(job), time.monotonic() + 300
    while "begins" not in jobs.log(number):
        if time.monotonic() > until:
            raise ClusterError(f"job {number} has not begun.")
        time.sleep(0.1)
    begun = time.perf_counter()
    jobs.cancel(number)
    return time.perf_counter() - begun


def _refusals(jobs: Jobs, asked: Job, script: Path) -> dict[str, Any]:
    short = Job(command=["python", script.name, "0"], files=[script])
    edge = Topology.load("nodes: {hall: edge}")
    cases: dict[str, Callable[[], Any]] = {
        "no_tier": lambda: jobs.submit(replace(asked, topology=edge)),
        "no_gpu": lambda: jobs.submit(replace(short, gpus=1)),
        "no_package": lambda: jobs.follow(jobs.submit(replace(short, pip=["aiflow-no-such-package==9"])), print, 300),
    }
    found: dict[str, Any] = {}
    for name, case in cases.items():
        begun = time.perf_counter()
        try:
            case()
        except AiflowError as error:
            found |= {f"{name}_s": time.perf_counter() - begun, f"{name}": str(error)}
        else:
            raise ClusterError(f"{name}: the cluster was to refuse this.")
    return found
