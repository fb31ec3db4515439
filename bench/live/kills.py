"""``aiflow bench resume``: a whole benchmark against a server of its own, killed twice on the way and resumed.

The server (tiny real models, one of them as the judge) writes down every request; the client is ``aiflow bench
mt-bench`` in a process of its own. What the server was asked a second time, after it had answered, is counted.
"""

import json as jsonlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiflow.bench.log import HEADER, read
from aiflow.bench.provenance import provenance
from aiflow.bench.serving import asked, repeated, serving
from aiflow.errors import ClusterError

MODELS = ("math=aiflow:nano/math", "text=aiflow:nano/text", "server=aiflow:nano/server", "judge=aiflow:nano/math")
RATINGS = tuple(f"[[{rating}]]" for rating in range(1, 10))
KEEP = 1500  # characters: what the embedded models' context surely holds
SIGNALS = {
    "none": (),
    "term": (signal.SIGTERM, signal.SIGTERM),
    "kill": (signal.SIGKILL, signal.SIGKILL),
    "both": (signal.SIGTERM, signal.SIGKILL),
}
_POLL, _LONGEST = 0.05, 3600.0


def main(
    *,
    data: Path | None = None,
    questions: int = 80,
    how: Sequence[str] = ("term", "kill"),
    parallel: int = 4,
    out: Path = Path("runs/resume"),
    json: bool = False,
) -> dict[str, Any]:
    """Measures each way of killing, prints what came of it, and with ``json`` one JSON object last.

    The kills come when one and two thirds of the requests of an undisturbed run have been answered. Raises ClusterError
    if a client ends otherwise than it should.
    """
    undisturbed = _run("none", data, questions, parallel, out, ())
    whole = undisturbed["answered"]
    found = {"undisturbed": undisturbed}
    for name in how:
        found[name] = _run(name, data, questions, parallel, out, (whole // 3, 2 * whole // 3))
    for name, row in found.items():
        print(
            f"{name:>12}: {row['answered']} answered, {row['distinct']} different, {row['repeated']} asked again after"
            f" an answer ({row['in_flight']} under way at the kills), {row['records']} records, {row['seconds']:.0f} s",
            file=sys.stderr if json else sys.stdout,
        )
    result = {"questions": questions, "parallel": parallel, **found, **provenance()}
    if json:
        print(jsonlib.dumps(result))
    return result


def _run(
    name: str, data: Path | None, questions: int, parallel: int, out: Path, kills: Sequence[int]
) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    log = out / f"{time.time_ns()}-{name}.jsonl"
    start, under_way, folder = time.perf_counter(), 0, None
    with serving(log, models=MODELS, choices={"judge": RATINGS}, keep=KEEP) as url:
        for limit, end in zip(kills, SIGNALS[name], strict=True):
            process = _client(url, data, questions, parallel, out, folder)
            _wait(process, log, limit)
            under_way += sum(not request.completed and request.status is None for request in asked(log))
            process.send_signal(end)
            process.wait(60)
            folder = _newest(out)
        process = _client(url, data, questions, parallel, out, folder)
        if process.wait(_LONGEST):
            raise ClusterError(f"the benchmark ended with exit code {process.returncode}; see its words above.")
        folder = _newest(out)
        requests = asked(log)
    header, records = read(folder)
    done = [request for request in requests if request.completed]
    return {
        "folder": str(folder),
        "status": header.status,
        "answered": len(done),
        "distinct": len({request.sha for request in done}),
        "repeated": len(repeated(requests)),
        "in_flight": under_way,
        "records": len(records),
        "errors": sum(bool(turn.error) for record in records for turn in record.turns),
        "models": header.results["models"],
        "seconds": round(time.perf_counter() - start, 1),
    }


def _client(
    url: str, data: Path | None, questions: int, parallel: int, out: Path, folder: Path | None
) -> "subprocess.Popen[bytes]":
    said: list[str] = ["--limit", str(questions), "--parallel", str(parallel), "--out", str(out)]
    said += ["--data", str(data)] if data else []
    said += ["--model", f"math={url}#math", "--model", f"text={url}#text"]
    said += ["--server", f"{url}#server", "--judge", f"{url}#judge"]
    said += ["--resume", str(folder)] if folder else []
    command = [sys.executable, "-c", "from aiflow.cli import main; main()", "bench", "mt-bench", *said]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _wait(process: "subprocess.Popen[bytes]", log: Path, limit: int) -> None:
    """Until the server has answered ``limit`` requests."""
    end = time.monotonic() + _LONGEST
    while sum(request.completed for request in asked(log)) < limit:
        if process.poll() is not None or time.monotonic() > end:
            raise ClusterError(f"the benchmark ended (exit code {process.returncode}) before it could be killed.")
        time.sleep(_POLL)


def _newest(out: Path) -> Path:
    return max((path.parent for path in out.glob(f"*/{HEADER}")), key=lambda folder: folder.stat().st_mtime)
