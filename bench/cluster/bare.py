"""A Ray head of its own on this machine whose Python has everything but aiflow: what jobs are submitted to.

It is gone when its owner closes it, and also when its owner is killed.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiflow.cluster.raylets import STORE
from aiflow.cluster.shaped.nodes import PATIENT
from aiflow.errors import ClusterError

# The shell kills its whole process group when its standard input ends, which it does with whoever holds the other end.
_GUARD = '"$@" & read _; kill -KILL 0'


@dataclass(frozen=True, kw_only=True)
class Head:
    """``address``: of the dashboard. ``python``: the interpreter of its processes. ``start_s``: until it answered."""

    address: str
    python: Path
    start_s: float


@contextlib.contextmanager
def head(resources: Mapping[str, float], *, cpus: int = 2, deadline: float = 240.0) -> Iterator[Head]:
    """Starts a head with ``resources``. Raises ClusterError if its dashboard does not answer by ``deadline`` (s)."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="afh-", dir="/tmp") as name:  # short: Ray's sockets lie in it
        python = bare_python(Path(name) / "venv")
        ports = _free_ports(3)
        options = [
            "--head",
            "--block",
            "--node-ip-address=127.0.0.1",
            f"--port={ports[0]}",
            f"--dashboard-port={ports[1]}",
            f"--ray-client-server-port={ports[2]}",
            "--dashboard-agent-listen-port=0",
            "--include-dashboard=true",
            f"--num-cpus={cpus}",
            f"--object-store-memory={STORE}",
            f"--resources={json.dumps(dict(resources))}",
            f"--temp-dir={name}/r",
            f"--system-config={json.dumps({**PATIENT, 'health_check_failure_threshold': 30})}",
            "--disable-usage-stats",
        ]
        log = Path(name) / "head.log"
        environment = {
            **{key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "RAY_ADDRESS")},
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(int(deadline)),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RUNTIME_ENV_RETRY_TIMES": "1",
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["sh", "-c", _GUARD, "sh", str(python), "-m", "ray.scripts.scripts", "start", *options],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        address = f"http://127.0.0.1:{ports[1]}"
        try:
            _wait(f"{address}/api/version", deadline, log)
            yield Head(address=address, python=python, start_s=time.monotonic() - began)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)
            _gone(name)


def bare_python(folder: Path) -> Path:
    """A Python that has what this one has, except aiflow. Raises ClusterError if it has it after all."""
    venv.create(folder, symlinks=True, with_pip=True)  # Ray's runtime environments need a pip
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # Named in a .pth file, a folder's own .pth files do not count, so an editable aiflow is not found.
    (site / "everything_else.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    python = folder / "bin" / "python"
    found = subprocess.run([str(python), "-c", "import aiflow"], cwd="/", capture_output=True, check=False, timeout=60)
    if b"ModuleNotFoundError" not in found.stderr:
        raise ClusterError("this Python has aiflow as an ordinary package; use an editable install for this.")
    return python


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _wait(url: str, deadline: float, log: Path) -> None:
    until = time.monotonic() + deadline
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError:  # it answers, if only to ask who we are
            return
        except OSError:
            if time.monotonic() > until:
                said = log.read_text(errors="replace")[-400:]
                raise ClusterError(f"the head did not answer within {deadline:g} s: {said}") from None
            time.sleep(0.2)


def _gone(folder: str, deadline: float = 10.0) -> None:
    """Ends what had a process group of its own, as workers do, and removes the head's files."""
    until = time.monotonic() + deadline
    while (left := _holding(folder)) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(f"{folder}/r", ignore_errors=True)


def _holding(folder: str) -> list[int]:
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in numbers if folder in _text(Path(f"/proc/{pid}/cmdline"))]


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:
        return ""
