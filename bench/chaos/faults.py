"""What is broken, and mended: actors, nodes, links, the head, the driver, the whole cluster. Knows no requests."""

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aiflow.cluster.shaped import ShapedCluster, kernel
from aiflow.cluster.shaped.cluster import scratch
from aiflow.cluster.shaped.nodes import RayNodes

KINDS = ("actor", "node", "link", "head", "driver", "cluster")
ACTOR, DRIVER, RAYLET = b"ray::ModelActor", b"aiflow.batch_driver", b"/raylet"
DEVICES = ("phone", "laptop", "tablet")
_START = 200.0


class Faults:
    """Breaks things on a shaped cluster; each ``with`` block is one fault, mended at its end. ``hub`` asks."""

    def __init__(self, nodes: RayNodes, hub: str, rng: random.Random) -> None:
        self._nodes, self._cluster, self._hub, self._rng = nodes, nodes.cluster, hub, rng

    def hold(self, least: float, most: float) -> float:
        """Seconds that a thing is to stay broken."""
        return self._rng.uniform(least, most)

    @contextmanager
    def fault(self, kind: str) -> Iterator[str]:
        """Breaks something of ``kind`` and says what; mends it at the end, if it does not mend itself."""
        makes: dict[str, Callable[[], Iterator[str]]] = {
            "actor": self._actor,
            "node": self._node,
            "link": self._link,
            "head": self._head,
            "driver": self._driver,
            "cluster": self._everything,
        }
        work = makes[kind]()
        yield next(work)
        for _ in work:
            raise AssertionError(kind)

    def _actor(self) -> Iterator[str]:
        """The process of an agent; Ray starts it anew."""
        wait_until(lambda: bool(self._actors()), _START)
        name, pid = self._rng.choice(self._actors())
        kernel.send(pid, signal.SIGKILL)
        yield f"an agent on {name}"

    def _actors(self) -> list[tuple[str, int]]:
        return [(name, pid) for name in self._cluster.hosts for pid in _named(self._cluster, name, ACTOR)]

    def _node(self) -> Iterator[str]:
        """Everything on a device, as a power cut would; it returns after a while."""
        name = self._rng.choice(DEVICES)
        self._nodes.stop_node(name)
        yield name
        self._nodes.start_node(name, _START)

    def _link(self) -> Iterator[str]:
        """What a device and the hub send each other is swallowed for a while."""
        name = self._rng.choice(DEVICES)
        self._cluster.set_link(self._hub, name, up=False)
        yield f"{self._hub} - {name}"
        self._cluster.set_link(self._hub, name, up=True)

    def _head(self) -> Iterator[str]:
        """The head with all that runs on its node; it finds in its files what it knew."""
        self._nodes.stop_node(self._nodes.head)
        yield self._nodes.head
        self._nodes.start_node(self._nodes.head, _START)

    def _driver(self) -> Iterator[str]:
        """The process that runs the graph."""
        found = _named(self._cluster, self._hub, DRIVER)
        kernel.end(found)
        yield f"{len(found)} process"

    def _everything(self) -> Iterator[str]:
        """Every node, with all that the head knew: another cluster takes its place."""
        for name in self._cluster.hosts:
            if name != self._hub:
                self._nodes.stop_node(name)
        kernel.end(_named(self._cluster, self._hub, RAYLET))
        yield "all nodes, and what the head knew"
        kernel.end(_named(self._cluster, self._hub, b"ray::") + _named(self._cluster, self._hub, b"ray/dashboard"))
        shutil.rmtree(scratch(self._cluster.name) / "head", ignore_errors=True)
        self._nodes.start(_START)


def _named(cluster: ShapedCluster, node: str, word: bytes) -> list[int]:
    """Processes on a node whose command line has ``word`` in it."""
    found = []
    for pid in cluster.pids(node):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if word in line:
            found.append(pid)
    return found


def plan(requests: int, each: dict[str, int], rng: random.Random) -> list[tuple[int, str]]:
    """When (after how many answers) what is broken: ``each`` kind so many times, in random order, evenly spread."""
    kinds = [kind for kind, count in each.items() for _ in range(count)]
    rng.shuffle(kinds)
    share = requests / (len(kinds) + 1)
    return [(round(share * (number + rng.uniform(0.6, 1.0))), kind) for number, kind in enumerate(kinds)]


def wait_until(reached: Callable[[], bool], seconds: float) -> bool:
    """Polls until it is true, or the time is over."""
    until = time.monotonic() + seconds
    while not (done := reached()) and time.monotonic() < until:
        time.sleep(0.1)
    return done
