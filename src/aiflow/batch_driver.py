"""The process that ``aiflow batch`` starts, and starts again when it dies: ``python -m aiflow.batch_driver PLAN``.

It connects to the cluster, builds the graph and works on the journal. Its exit code says what to do: ``DONE`` (nothing
is left, or it was told to stop), ``WRONG`` (another attempt would not help), ``BROKEN`` (the graph cannot be built),
``LOST`` (the cluster is gone, or not there yet). A SIGTERM, or the end of its standard input, which its parent holds,
lets what runs end.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from aiflow import aio
from aiflow.batch_health import Health
from aiflow.errors import AiflowError, ClusterError, UsageError

if TYPE_CHECKING:
    from aiflow.graphs.journal import Journal

DONE, WRONG, BROKEN, LOST = 0, 2, 70, 75
GRACE = 10.0  # seconds in which running requests may end, once told to stop
CONNECT = 180.0  # seconds in which a cluster may start, or let us in: Ray itself may wait for ever
_PROBE = 0.5  # seconds between looks at the head


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a driver does. Paths and names as on the command line; ``deadline`` in seconds for each attempt."""

    journal: str
    graph: str
    topology: str
    address: str | None
    local: bool
    parallel: int
    deadline: float | None
    attempts: int
    driver: str
    lease: float

    def text(self) -> str:
        """For the command line of the process."""
        return json.dumps(asdict(self))


def main(text: str) -> NoReturn:
    """Works by the plan, and ends the process."""
    stop = _Stop()
    try:
        _work(Plan(**json.loads(text)), stop)
        code = DONE
    except UsageError as error:
        code = _say(error, WRONG)
    except AiflowError as error:
        code = _say(error, LOST)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a cluster that is gone would hold up the end of this process


def _work(plan: Plan, stop: "_Stop") -> None:
    from aiflow.agents.deployment import connect
    from aiflow.graphs.batch import work
    from aiflow.graphs.journal import Journal
    from aiflow.graphs.opening import open_graph

    with _limit(CONNECT, "no Ray cluster has let this process in"):
        cluster = connect(plan.topology, address=plan.address, local=plan.local, partial=True)
    with Journal(plan.journal) as journal:
        with _Building():
            graph = open_graph(plan.graph, cluster)
        running = work(
            journal,
            graph,
            parallel=plan.parallel,
            deadline=plan.deadline,
            attempts=plan.attempts,
            driver=plan.driver,
            lease=plan.lease,
            stopping=stop.wanted,
        )
        aio.run(_beside(running, stop, _health(plan.local, journal)))
    cluster.close()


async def _beside(running: Any, stop: "_Stop", health: Health) -> None:
    """Works until the end, or the end of the grace after a stop. Raises ClusterError when the cluster is lost."""
    task = asyncio.ensure_future(running)
    while not (await asyncio.wait({task}, timeout=_PROBE))[0]:
        why = await health.lost()
        if not why and not stop.overdue():
            continue
        task.cancel()  # what runs is given back
        with _limit(GRACE, "what runs does not let itself be given back"), suppress(asyncio.CancelledError):
            await task
        if why:
            raise ClusterError(f"{why}.")
        return
    await task


def _health(local: bool, journal: "Journal") -> Health:
    from aiflow.cluster.runtime import cluster_id

    if local:
        return Health(None, journal.progress, cluster_id)
    import ray

    return Health(str(ray.get_runtime_context().gcs_address), journal.progress, cluster_id)


@contextmanager
def _limit(seconds: float, words: str) -> Iterator[None]:
    """Ends the process with ``LOST`` if what is in the block, which nothing can interrupt, takes longer."""
    timer = threading.Timer(seconds, _leave, (f"{words} for {seconds:g} s.",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave(words: str) -> None:
    _say(ClusterError(words), LOST)
    sys.stderr.flush()
    os._exit(LOST)


class _Building:
    """Ends the process with ``BROKEN`` where users' code fails. It may be right, and the cluster just be lost."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind and not issubclass(kind, AiflowError):
            traceback.print_exception(kind, error, trace)
            sys.stderr.flush()
            os._exit(BROKEN)


class _Stop:
    """The wish to stop, by a signal or by the parent's end."""

    def __init__(self) -> None:
        self._at: float | None = None
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: self._wish())
        threading.Thread(target=self._watch, name="aiflow-parent", daemon=True).start()

    def wanted(self) -> bool:
        return self._at is not None

    def overdue(self) -> bool:
        return self._at is not None and time.monotonic() > self._at + GRACE

    def _wish(self) -> None:
        self._at = self._at or time.monotonic()

    def _watch(self) -> None:
        sys.stdin.buffer.read()
        self._wish()
        time.sleep(GRACE + 5.0)
        os._exit(LOST)


def _say(error: AiflowError, code: int) -> int:
    print(f"aiflow: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main(*sys.argv[1:])
