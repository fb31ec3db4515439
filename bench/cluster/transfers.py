"""Transfers between the nodes of a shaped cluster: real bytes over TCP, timed from first byte out to last byte in."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self

from aiflow.bench.cluster import peer
from aiflow.cluster.shaped import ShapedCluster


class Transfers:
    """A connection along ``path``: with only its two ends, or with a relay at each node between (``relays``)."""

    def __init__(self, cluster: ShapedCluster, path: list[str], relays: bool = False) -> None:
        self._ends = contextlib.ExitStack()
        stops = path if relays else [path[0], path[-1]]
        addresses = [cluster.host(node).address for node in stops]
        with contextlib.ExitStack() as starting:
            starting.push(self._ends)
            for index in reversed(range(len(stops))):
                last, first = index == len(stops) - 1, index == 0
                role = "receive" if last else "send" if first else "relay"
                words = [role, *([] if first else addresses[index : index + 1]), *addresses[index + 1 : index + 2]]
                process = subprocess.Popen(
                    cluster.command(stops[index], sys.executable, "-I", "-S", peer.__file__, *words),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                self._ends.callback(_end, process)
                assert process.stdin is not None
                assert process.stdout is not None
                if not first:
                    assert process.stdout.readline() == "ready\n"
                if last:
                    self._said: IO[str] = process.stdout
                if first:
                    self._orders: IO[str] = process.stdin
            starting.pop_all()

    def seconds(self, size: int, *, cold: bool = False) -> float:
        """Time of one transfer of ``size`` bytes; ``cold``: over a new connection, whose window is still small."""
        self._orders.write(f"{size} {'cold' if cold else ''}\n")
        self._orders.flush()
        return float(self._said.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait(10)
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.close()


@contextlib.contextmanager
def cluster(text: str, name: str) -> Iterator[ShapedCluster]:
    """A shaped cluster without Ray, for as long as it is needed."""
    with ShapedCluster.up(text, name) as made:
        yield made
