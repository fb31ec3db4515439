"""One batch in a process of its own on the hub, with or without faults, and when each of its requests was answered."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiflow.bench.chaos import graph
from aiflow.bench.chaos.faults import Faults, wait_until
from aiflow.cluster.data import topology_data
from aiflow.cluster.shaped.nodes import RayNodes
from aiflow.errors import ClusterError
from aiflow.graphs.journal import Journal

LONGEST = 1800.0
"""Seconds after which a batch is taken to hang."""
_HELD = (2.0, 6.0)  # seconds that a thing stays broken, besides what starting it takes


@dataclass(kw_only=True)
class Run:
    """What came of a batch. Times are Unix seconds."""

    began: float
    ended: float
    lines: list[dict[str, Any]]  # of the file of answers
    ends: list[float]  # when each request was answered
    summary: dict[str, Any]
    faults: list[dict[str, Any]] = field(default_factory=list)


def run(
    nodes: RayNodes,
    hub: str,
    questions: Path,
    folder: Path,
    *,
    parallel: int,
    faults: Faults | None,
    when: Sequence[Any],
) -> Run:
    """Answers the questions on the cluster, and breaks what ``when`` says. Raises ClusterError if the batch fails."""
    folder.mkdir(parents=True, exist_ok=True)
    place, journal, out = folder / "topology.json", folder / "journal.sqlite", folder / "answers.jsonl"
    place.write_text(json.dumps(topology_data(nodes.cluster.topology)), encoding="utf-8")
    command = [sys.executable, "-c", "from aiflow.cli import main; main()", "batch", str(questions)]
    command += ["--graph", f"{graph.__file__}:chaos", "--topology", str(place), "--address", nodes.address]
    command += ["--journal", str(journal), "--out", str(out), "--parallel", str(parallel), "--attempts", "20", "--json"]
    began = time.time()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            nodes.cluster.command(hub, *command),
            env=nodes.environment(hub),
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
        )
        try:
            made = _break(process, journal, faults, when) if faults else []
            said, _ = process.communicate(timeout=LONGEST)
        finally:
            process.kill()
    if not out.exists():
        raise ClusterError(f"the batch ended with exit code {process.returncode}; see {folder / 'log'}.")
    with Journal(journal) as kept:
        ends = sorted(request.ended for request in kept.requests() if request.ended)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    summary = json.loads(said.splitlines()[-1])
    return Run(began=began, ended=time.time(), lines=lines, ends=ends, summary=summary, faults=made)


def _break(
    process: "subprocess.Popen[bytes]", path: Path, faults: Faults, when: Sequence[tuple[int, str]]
) -> list[dict[str, Any]]:
    """Breaks each thing when so many requests have been answered, one after the other."""
    made = []
    wait_until(path.exists, 60)
    with Journal(path) as journal:
        for count, kind in when:
            if not wait_until(lambda c=count: process.poll() is not None or journal.progress()[0] >= c, LONGEST):  # type: ignore[misc]
                raise ClusterError(f"no answer {count} within {LONGEST:g} s; see {path.parent / 'log'}.")
            if process.poll() is not None:
                break
            at, answered = time.time(), journal.progress()[0]
            with faults.fault(kind) as what:
                print(f"{answered:>5} answered: {kind} ({what})", file=sys.stderr, flush=True)
                broken = time.time()
                time.sleep(faults.hold(*_HELD))
            made.append(
                {"kind": kind, "what": what, "answered": answered, "at": at, "broken": broken, "mended": time.time()}
            )
    return made
