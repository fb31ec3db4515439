"""A suite asked of real agents: models alone, a collaboration of them or any graph, judged where the suite needs it.

The run is logged as it goes; one that was stopped or killed continues from its folder and asks nothing again that was
answered. Knows no suite.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow import aio
from aiflow.bench.budget import Budget
from aiflow.bench.log import REQUESTS, RunLog, read
from aiflow.bench.provenance import provenance
from aiflow.bench.requests import RequestLog
from aiflow.errors import AiflowError, UsageError

if TYPE_CHECKING:
    from aiflow.bench.judges.judge import Judge
    from aiflow.bench.outcome import Outcome
    from aiflow.bench.suite import Suite

Answers = Mapping[str, Mapping[str, Sequence[str]]]
SAME = ("agents", "abouts", "server", "graph", "topology", "judge", "merge", "self_moa", "seed")
"""What a resumed run must have in common with the one that it continues."""
PATIENCE = 10.0
"""Seconds for which a run that is stopped waits for answers under way, which it would have to ask for again."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """Who is asked, and how; what the command line says.

    ``models``: ``MODEL`` or ``NAME=MODEL`` each, asked alone; with a ``server`` model they are also the devices of the
    device-server graph, which knows them by their ``abouts`` (name -> what it is good at). ``graph``: any other graph
    (`aiflow.graphs.opening`), on ``topology``. ``judge``: the model that judges. ``self_moa``: how often the best model
    is sampled for that baseline (0: not at all). ``curve``: also with fewer devices (Tables V and VI).
    ``reuse``: what an agent was asked before, alone or in another team, is not asked again; without it times are true.
    ``recorded``: model -> sample id -> its texts, a turn each, which are asked as well and cost nothing.
    """

    models: tuple[str, ...] = ()
    recorded: "Answers" = field(default_factory=dict, repr=False)
    abouts: Mapping[str, str] = field(default_factory=dict)
    server: str | None = None
    graph: str | None = None
    topology: str = "home"
    local: bool = False
    judge: str | None = None
    merge: str = "synthesis"
    self_moa: int = 0
    curve: bool = False
    reuse: bool = True
    parallel: int = 8
    seed: int = 0
    deadline: float | None = 300.0
    budget: Budget = field(default_factory=Budget)
    out: Path = Path("runs")
    resume: Path | None = None

    def __post_init__(self) -> None:
        if not (self.models or self.graph or self.recorded):
            raise UsageError("nobody is asked: give --model or --graph, or --recorded to score recorded answers.")
        if self.server and not self.models:
            raise UsageError("a --server needs devices: give them with --model.")
        if self.curve and not (self.server and len(self.models) > 1):
            raise UsageError("--curve compares teams: give a --server and two or more --model.")

    def settings(self) -> dict[str, Any]:
        """What the log holds of it."""
        values = {name: getattr(self, name) for name in (*SAME[1:], "parallel", "local", "deadline", "reuse")}
        return {
            "agents": [*self.models, *(f"recorded: {name}" for name in self.recorded)],
            **values,
            "abouts": dict(self.abouts),
        }


def run_live(name: str, make: "Callable[[Judge | None], Suite]", live: Live, *, quiet: bool = False) -> "Outcome":
    """Asks everybody everything, and tabulates. ``make`` builds the suite once its judge is there.

    Raises what the suite raises, BudgetSpentError (what was found until then is in the log), and an AgentError where a
    judge cannot be asked.
    """
    settings = live.settings() | {"suite": name}
    produced = provenance() | settings
    log = RunLog.resume(live.resume, name, produced, SAME) if live.resume else RunLog.create(live.out, name, produced)
    if not quiet:
        print(f"run: {log.folder}", file=sys.stderr)
    ended = threading.Event()
    try:
        with log, _terminable():
            return aio.run(_run(name, make, live, log, produced, ended, quiet=quiet))
    except (KeyboardInterrupt, AiflowError):
        ended.wait(2 * PATIENCE)  # interrupted, it still takes down the answers that are under way
        if not quiet:
            print(f"to go on: the same command with --resume {log.folder}", file=sys.stderr)
        raise


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that the log is closed. Only the main thread can see to that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def _run(
    name: str,
    make: "Callable[[Judge | None], Suite]",
    live: Live,
    log: RunLog,
    produced: dict[str, Any],
    ended: threading.Event,
    *,
    quiet: bool,
) -> "Outcome":
    from aiflow.bench.live.phases import Phases
    from aiflow.bench.live.tabulate import tabulate
    from aiflow.bench.live.team import opened
    from aiflow.bench.outcome import Outcome

    start = time.perf_counter()
    requests = RequestLog(log.folder / REQUESTS)
    done = {(r.subject, r.sample): r for r in read(log.folder)[1] if not any(turn.error for turn in r.turns)}
    try:
        async with opened(live, requests) as team:
            suite = make(team.judge)
            log.ask(suite.samples)
            produced |= {"questions": len(suite.samples), "answered_before": len(requests)}
            phases = Phases(suite, team, live, log=log, done=done, quiet=quiet)
            try:
                await phases.run()
            finally:
                await requests.settle(PATIENCE)
    finally:
        ended.set()
    produced["seconds"] = round(time.perf_counter() - start, 1)
    produced["spent"] = {"requests": live.budget.spent.requests, "dollars": round(live.budget.cost, 4)}
    results = tabulate(name, phases, live, produced)
    outcome = Outcome(results=results, suite=suite, records=phases.records, folder=log.folder, shown=phases.joint)
    log.finish(outcome.json())
    outcome.write_report()
    return outcome


__all__ = ["Live", "run_live"]
