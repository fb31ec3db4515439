"""The kernel's networking through ``ip`` and ``tc``: namespaces, and what a process needs to be allowed to make them.

Every call either worked or raised ``ClusterError`` with the command and what it said. Topologies are not known here.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from aiflow.errors import ClusterError

_NEEDED = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
PREFIX = "aiflow-"


def require() -> None:
    """Raises ClusterError unless this process may make namespaces and shaped links."""
    if sys.platform != "linux":
        raise ClusterError(
            f"shaped links need Linux, this is {sys.platform}; emulated links work here: aiflow.connect."
        )
    for tool in ("ip", "tc"):
        if not shutil.which(tool):
            raise ClusterError(f"shaped links need the command {tool!r}; install iproute2.")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    held = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
    lacking = [name for bit, name in _NEEDED.items() if not held >> bit & 1]
    if lacking:
        raise ClusterError(f"shaped links need root with {' and '.join(lacking)}; use sudo, or emulated links.")
    if not Path("/dev/net/tun").exists():
        raise ClusterError("shaped links need /dev/net/tun; load the kernel module tun (modprobe tun).")


def run(*command: str, text: str | None = None) -> str:
    """Output of a command. Raises ClusterError if it fails or takes more than 30 s."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{' '.join(command)} did not run: {error}") from None
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().partition("\n")[0]
        raise ClusterError(f"{' '.join(command)} failed: {reason or done.returncode}")
    return done.stdout


def ip(namespace: str, lines: Iterable[str]) -> None:
    """Runs ``ip`` commands inside a namespace, in one process."""
    run("ip", "-n", namespace, "-batch", "-", text="\n".join(lines) + "\n")


def namespaces(prefix: str = PREFIX) -> list[str]:
    """Names of the network namespaces that begin with ``prefix``."""
    lines = run("ip", "netns", "list").splitlines()
    return sorted(line.split()[0] for line in lines if line.startswith(prefix))


def inside(namespace: str, *command: str) -> list[str]:
    """The command line that runs ``command`` in a namespace."""
    return ["ip", "netns", "exec", namespace, *command]


def pids(namespace: str) -> list[int]:
    """Processes in a namespace, without this one."""
    return [int(pid) for pid in run("ip", "netns", "pids", namespace).split() if int(pid) != os.getpid()]


def running(*words: str) -> list[int]:
    """Processes whose command line has all of ``words`` among its arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            if all(word.encode() in arguments for word in words):
                found.append(int(entry.name))
    return found


def end(processes: Iterable[int], *, deadline: float = 10.0) -> None:
    """Kills processes and waits until they are gone. Raises ClusterError if one is not."""
    left = list(processes)
    for pid in left:
        send(pid, signal.SIGKILL)
    until = time.monotonic() + deadline
    while left := [pid for pid in left if alive(pid)]:
        if time.monotonic() > until:
            raise ClusterError(f"process {left[0]} could not be ended; look at it with: ps -p {left[0]}")
        time.sleep(0.02)


def send(pid: int, number: int) -> bool:
    """Sends a signal; False if the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def alive(pid: int) -> bool:
    """True if a process runs; what has ended and only waits for its parent to notice does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # a zombie holds nothing
