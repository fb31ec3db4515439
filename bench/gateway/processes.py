"""Servers in processes of their own for a block, their memory and their processor time."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import yaml

START_SECONDS = 120.0
ZERO: Mapping[str, Any] = {
    "topology": {"nodes": {"here": "cloud"}},
    "local": True,
    "agents": {"zero": {"node": "here", "model": "scripted:ok"}},
}
"""A gateway with one agent that costs nothing."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server."""

    url: str
    process: psutil.Process
    log: Path

    @property
    def memory(self) -> int:
        """Bytes that it holds in memory."""
        return int(self.process.memory_info().rss)

    @property
    def seconds(self) -> float:
        """Processor seconds so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[Server]:
    """Runs a command that prints its URL once it serves; its stderr goes to ``log``. Raises RuntimeError."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as stderr:
        process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=stderr, env=environment)
    late = threading.Timer(START_SECONDS, process.kill)
    late.start()
    try:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        late.cancel()
        if not url:
            raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")
        yield Server(url=url, process=psutil.Process(process.pid), log=log)
    finally:
        late.cancel()
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def gateway(folder: Path, config: Mapping[str, Any] = ZERO, *flags: str) -> Iterator[Server]:
    """A gateway of ``config`` on a free port of this machine."""
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(dict(config)))
    command = ["-c", "from aiflow.cli import main; main()", "serve", str(file), "--port", "0", *flags]
    with running(command, folder / "gateway.log") as server:
        yield server


@contextmanager
def bare(folder: Path) -> Iterator[Server]:
    """FastAPI alone."""
    with running(["-m", "aiflow.bench.gateway.bare"], folder / "bare.log") as server:
        yield server
