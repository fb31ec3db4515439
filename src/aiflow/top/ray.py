"""Frames of a Ray cluster: what ``aiflow.cluster.observe`` sees in a process of its own. Knows no Ray."""

import json
import subprocess
import sys
import threading
import time
from queue import Empty, Queue

from aiflow.errors import ClusterError
from aiflow.top.frame import AgentRow, Frame, NodeRow

LIMIT = 15.0
"""Seconds without a word after which the cluster counts as gone; joining it takes some of them."""


class RayCluster:
    """The cluster whose head is at ``address`` (``auto``: the one on this machine)."""

    def __init__(self, address: str, interval: float) -> None:
        self.name = f"ray {address}"
        self._command = [sys.executable, "-m", "aiflow.cluster.observe", address, str(interval)]
        self._process: subprocess.Popen[str] | None = None
        self._lines: Queue[str] = Queue()

    def frame(self) -> Frame:
        """The newest of what it saw. Raises ClusterError."""
        if self._process is None or self._process.poll() is not None:
            self._begin()
        try:
            line = self._lines.get(timeout=LIMIT)
            while not self._lines.empty():
                line = self._lines.get_nowait()
        except Empty:
            raise ClusterError(f"{self.name} says nothing for {LIMIT:g} s; see that its head runs.") from None
        if not line:
            raise ClusterError(f"{self.name} is gone; see that its head runs.")
        found = json.loads(line)
        if "error" in found:
            raise ClusterError(found["error"])
        nodes = {name: NodeRow(**row) for name, row in found["nodes"].items()}
        agents = {name: AgentRow(**row) for name, row in found["agents"].items()}
        return Frame(source=self.name, moment=time.monotonic(), nodes=nodes, agents=agents)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _begin(self) -> None:
        self.close()
        quiet = subprocess.DEVNULL
        self._lines = Queue()
        self._process = subprocess.Popen(self._command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, text=True)
        threading.Thread(target=_read, args=(self._process, self._lines), daemon=True).start()


def _read(process: "subprocess.Popen[str]", lines: "Queue[str]") -> None:
    assert process.stdout is not None
    with process.stdout as pipe:
        for line in pipe:
            if line.startswith("{"):  # Ray may print, too
                lines.put(line)
    lines.put("")
