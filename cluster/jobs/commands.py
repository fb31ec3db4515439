"""What ``aiflow submit`` and ``aiflow jobs`` do: logs go to stderr, results to stdout."""

import json as jsonlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiflow.cluster.jobs.client import TOPOLOGY, Job, Jobs
from aiflow.cluster.topology import Topology
from aiflow.errors import DeadlineError, InputError, UsageError

HOME = "home"


def describe(target: str, arguments: Sequence[str], topology: Topology | None, files: Sequence[Path]) -> Job:
    """The job for a script (FILE.py) or a graph (FILE.py:NAME, 'home'). Raises UsageError.

    A graph takes one argument, the question, and needs the topology.
    """
    file, _, name = target.partition(":")
    ships = [] if target == HOME else [Path(file)]
    for path in (*ships, *files):
        if not path.exists():
            raise UsageError(f"{str(path)!r} does not exist; submit FILE.py, FILE.py:NAME or 'home'.")
    if target != HOME and not name:
        command = ["python", Path(file).name, *arguments]
        return Job(command=command, files=[*ships, *files], topology=topology, name=Path(file).stem)
    if topology is None:
        raise UsageError(f"graph {target!r} needs --topology FILE, to know which nodes it runs on.")
    if len(arguments) != 1:
        raise InputError(f"a graph takes one question, got {len(arguments)} arguments; write: -- 'What is 12 + 30?'")
    graph = target if target == HOME else f"{Path(file).name}:{name}"
    command = ["python", "-m", "aiflow.running_job", graph, TOPOLOGY, arguments[0]]
    return Job(command=command, files=[*ships, *files], topology=topology, name=name or HOME)


def submit(
    job: Job,
    *,
    address: str | None,
    follow: bool,
    timeout: float | None,
    cancel_on_interrupt: bool,
    json: bool,
) -> None:
    """Submits a job, and unless it is only to be started, prints its log and its result."""
    jobs, began = Jobs(address), time.monotonic()
    number = jobs.submit(job)
    print(f"job {number} at {jobs.address}", file=sys.stderr)
    if not follow:
        _show({"id": number}, number, json=json)
        return
    try:
        found = jobs.follow(number, lambda line: print(line, file=sys.stderr), timeout)
    except DeadlineError as error:
        jobs.cancel(number)
        raise DeadlineError(f"{error}; it was cancelled.") from None
    except KeyboardInterrupt:
        if cancel_on_interrupt:
            jobs.cancel(number)
            print(f"job {number} was cancelled.", file=sys.stderr)
        else:
            print(f"job {number} goes on; aiflow jobs logs|cancel {number}", file=sys.stderr)
        raise
    seconds = time.monotonic() - began
    _show({"id": number, "state": "SUCCEEDED", "seconds": seconds, "result": found}, found, json=json)


def show_all(address: str | None, *, json: bool) -> None:
    """Prints the jobs of a cluster, the newest first."""
    rows = Jobs(address).all()
    for row in rows:
        print(f"{row['id']}  {row['state']:<9}  {row['seconds']:7.1f} s  {row['command'][:70]}")
    if json:
        print(jsonlib.dumps(rows))


def show_log(address: str | None, number: str, *, follow: bool) -> None:
    """Prints a job's log, and with ``follow`` goes on until it ends."""
    jobs = Jobs(address)
    if follow:
        jobs.follow(number, print)
    else:
        print(jobs.log(number), end="")


def show_result(address: str | None, number: str) -> None:
    """Prints a job's result as JSON."""
    print(jsonlib.dumps(Jobs(address).result(number)))


def cancel(address: str | None, number: str) -> None:
    """Cancels a job, and says whether it was still running."""
    print(f"job {number} {'was cancelled' if Jobs(address).cancel(number) else 'had ended'}.")


def _show(whole: dict[str, Any], found: Any, *, json: bool) -> None:
    if json:
        print(jsonlib.dumps(whole))
    elif isinstance(found, dict) and "answer" in found:
        print(found["answer"])
    elif found is not None:
        print(found if isinstance(found, str) else jsonlib.dumps(found))
