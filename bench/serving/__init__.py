"""A small OpenAI-compatible server on real models, in a process of its own, that writes down what it was asked.

``python -m aiflow.bench.serving --log FILE`` prints its port once it answers; `serving` runs it for a block.
``POST /v1/chat/completions`` (whole and streamed, with log-probabilities) and ``GET /v1/models``, on 127.0.0.1. The
models are aiflow agents. It ends with the process that started it, however that ends, and knows no benchmark.

The log has two lines per request: one when it was received and one when it has ended. A request without a second
line was not yet answered when the server was killed.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

MODELS = ("aiflow:nano/math", "aiflow:nano/server")
START_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as the server saw it.

    ``sha``: of its model, messages and options; ``at``: when it was received (seconds since the epoch); ``status``: of
    HTTP, None while it runs; ``completed``: whether the whole answer was handed over to the connection.
    """

    number: int
    sha: str
    model: str
    at: float
    status: int | None = None
    completed: bool = False


@contextmanager
def serving(
    log: Path,
    *,
    models: Sequence[str] = MODELS,
    delay: float = 0.0,
    choices: Mapping[str, Sequence[str]] = MappingProxyType({}),
    keep: int | None = None,
) -> Iterator[str]:
    """Runs the server and yields its base URL, such as ``http://127.0.0.1:4711/v1``.

    ``models``: ``NAME=MODEL``, or MODEL, whose name is what follows ``aiflow:``; ``<URL>#<name>`` is then a model for
    aiflow. ``delay``: seconds by which each answer is late. ``choices``: the texts among which a model can choose (by
    its own probabilities; the others are free). ``keep``: characters of a talk's end that are read; None: all.
    Raises RuntimeError with the server's words if it does not start.
    """
    command = [sys.executable, "-m", "aiflow.bench.serving", "--log", str(log), "--delay", str(delay)]
    command += [part for model in models for part in ("--model", model)]
    command += [part for name in choices for text in choices[name] for part in ("--choice", f"{name}={text}")]
    command += ["--parent", str(os.getpid()), *(["--keep", str(keep)] if keep else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    errors = log.with_suffix(".stderr")
    with errors.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment)
    late = threading.Timer(START_SECONDS, process.kill)
    late.start()
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        late.cancel()
        if not port:
            raise RuntimeError(f"the server did not start: {errors.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{int(port)}/v1"
    finally:
        late.cancel()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def asked(log: Path) -> list[Asked]:
    """All requests so far, in the order in which they came."""
    found: dict[int, dict[str, Any]] = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        row = json.loads(line)
        found.setdefault(row["number"], {}).update(row)
    return [Asked(**row) for row in found.values()]


def repeated(requests: Sequence[Asked]) -> list[str]:
    """The hashes of requests that came again after an answer to the same one had been completed."""
    done: set[str] = set()
    again: list[str] = []
    for request in requests:
        if request.sha in done:
            again.append(request.sha)
        if request.completed:
            done.add(request.sha)
    return again
