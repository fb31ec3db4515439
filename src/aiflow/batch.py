"""Answers a file of questions with a graph, whatever dies meanwhile: ``aiflow batch``.

The journal is what is known; the work is done by a driver process (``aiflow.batch_driver``), which is started again
when it dies, on whatever cluster answers at the address by then. The same command goes on where the last one ended.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiflow import batch_questions
from aiflow.agents.home import HOME, home_topology
from aiflow.batch_driver import BROKEN, DONE, GRACE, LOST, WRONG, Plan
from aiflow.cluster.topology import Topology
from aiflow.errors import ClusterError, DataError
from aiflow.graphs.journal import Counts, Journal
from aiflow.graphs.opening import check

INTERRUPTED = 130
_POLL, _SHOW = 0.1, 5.0
_BROKEN_AT_MOST = 3
_BACKOFF, _LONGEST = 0.5, 30.0


def main(
    questions: Path, *, plan: Plan, out: Path | None, restarts: int, wait: float, again: bool, trace: bool, json: bool
) -> int:
    """Answers what is open, writes ``out`` and prints a summary; the exit code (1 where a question has no answer).

    ``restarts``: how many drivers in a row may die without any progress. ``wait``: seconds for a cluster to answer.
    Raises DataError, UsageError, TopologyError; ClusterError when no cluster comes or the drivers keep dying.
    """
    started = time.monotonic()
    check(plan.graph)
    plan = replace(plan, topology=home_topology() if plan.topology == HOME else plan.topology)
    Topology.load(plan.topology)
    asked, unused = batch_questions.read(questions)
    if unused:
        _say(f"not used: {', '.join(sorted(unused))} (the graph says how its agents generate)")
    with Journal(plan.journal) as journal:
        journal.bind("graph", plan.graph)
        new = journal.add_all(asked.items())
        if again:
            journal.reopen()
        counts = journal.counts()
        if counts.unfinished and new < len(asked):
            _say(f"goes on with {plan.journal}: {_told(counts)}")
        keeper = _Keeper(journal, plan, restarts, wait)
        try:
            code = keeper.run() if counts.unfinished else DONE
        finally:
            if out is not None:
                _write(out, journal, set(asked), trace)
        return _summary(keeper, code, out, time.monotonic() - started, json)


@dataclass
class _Keeper:
    """Keeps a driver running until nothing is open."""

    journal: Journal
    plan: Plan
    restarts: int
    wait: float
    ends: list[str] = field(default_factory=list)  # how drivers died
    stops: int = 0  # signals that asked for the end

    def run(self) -> int:
        """DONE, WRONG (a driver has said why), BROKEN or INTERRUPTED. Raises ClusterError."""
        fruitless, broken = 0, 0
        with self._signals():
            while True:
                self._await_cluster()
                before = self.journal.progress()
                code = DONE if self.stops else self._drive(f"{self.plan.driver}-{len(self.ends)}")
                if self.stops:
                    return INTERRUPTED
                if not self.journal.counts().unfinished:
                    return DONE
                if code == WRONG:
                    return code
                broken = broken + 1 if code == BROKEN else 0
                if broken == _BROKEN_AT_MOST:
                    return BROKEN
                self.ends.append(_cause(code))
                fruitless = 0 if self.journal.progress() != before else fruitless + 1
                if fruitless > self.restarts:
                    raise ClusterError(
                        f"drivers got nothing done, {fruitless} in a row, the last of which {self.ends[-1]}; "
                        f"{_told(self.journal.counts())}. See what they said above; the same command goes on."
                    )
                pause = min(_LONGEST, _BACKOFF * 2 ** max(0, fruitless - 1))
                _say(f"the driver {self.ends[-1]}; another starts in {pause:g} s ({_told(self.journal.counts())})")
                self._sleep(pause)

    def _drive(self, name: str) -> int:
        """Starts a driver, shows how far it is, and returns its exit code; what it held is open again."""
        # -P: the folder of the call must not stand for packages; the pipe tells the driver when this process is gone.
        command = [sys.executable, "-P", "-m", "aiflow.batch_driver", replace(self.plan, driver=name).text()]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2, start_new_session=True)
        try:
            self._watch(process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it started
            process.wait()
            if process.stdin:
                process.stdin.close()
            self.journal.give_back(name)
        return process.returncode

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        shown, told, stops, limit = time.monotonic(), "", 0, float("inf")
        while process.poll() is None and time.monotonic() < limit:
            time.sleep(_POLL)
            if self.stops > stops:
                stops = self.stops
                process.terminate()
                limit = time.monotonic() + GRACE + 5.0 if stops == 1 else 0.0
                _say("stops when what runs is done; once more ends it now" if stops == 1 else "ends")
            if time.monotonic() > shown + _SHOW and (now := _told(self.journal.counts())) != told:
                shown, told = time.monotonic(), now
                _say(now)

    def _await_cluster(self) -> None:
        address = self.plan.address
        if self.plan.local or address in (None, "auto"):
            return
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdigit():
            raise ClusterError(f"address {address!r} is not usable; write the head's HOST:PORT, like '10.0.0.1:6379'.")
        limit, told = time.monotonic() + self.wait, False
        while not self.stops:
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
                return
            except OSError as error:
                if time.monotonic() > limit:
                    raise ClusterError(
                        f"no Ray cluster has answered at {address!r} for {self.wait:g} s ({error}); "
                        f"{_told(self.journal.counts())}. Start one, and the same command goes on."
                    ) from None
            if not told:
                told = True
                _say(f"waits up to {self.wait:g} s for a cluster at {address}")
            self._sleep(0.5)

    def _sleep(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and not self.stops:
            time.sleep(min(_POLL, seconds))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Counts Ctrl-C and SIGTERM instead of dying of them."""

        def note(*_: Any) -> None:
            self.stops += 1

        before = {name: signal.signal(name, note) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)


def _write(out: Path, journal: Journal, ids: set[str], trace: bool) -> None:
    """The ends so far as JSON lines, in the order of the questions. Replaces the file at once."""
    spare = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with spare.open("w", encoding="utf-8") as file:
            for request in journal.requests():
                if request.id not in ids or request.state not in ("answered", "failed"):
                    continue
                end = request.answer if request.state == "answered" else {"error": request.error}
                end = end if isinstance(end, dict) else {"answer": end}
                if not trace:
                    end.pop("trace", None)
                file.write(json.dumps({"id": request.id, **end}) + "\n")
        os.replace(spare, out)
    except OSError as error:
        raise DataError(f"{out} cannot be written to ({error.strerror}); the answers are in the journal.") from error


def _summary(keeper: _Keeper, code: int, out: Path | None, seconds: float, as_json: bool) -> int:
    counts = keeper.journal.counts()
    if code == INTERRUPTED:
        _say(f"stopped: {_told(counts)}; go on with: {shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}")
    elif code == BROKEN:
        _say(f"the graph {keeper.plan.graph!r} cannot be built; see the traceback above")
    result = {
        "answered": counts.answered,
        "failed": counts.failed,
        "unfinished": counts.unfinished,
        "resumed": counts.resumed,
        "dropped": counts.dropped,
        "restarts": len(keeper.ends),
        "ends": keeper.ends,
        "seconds": round(seconds, 3),
        "journal": keeper.plan.journal,
        "out": str(out) if out else None,
    }
    if as_json:
        print(json.dumps(result))
    else:
        told = f"answered {counts.answered}, failed {counts.failed}, left {counts.unfinished}"
        print(f"{told}; {counts.resumed} went on from a checkpoint, {len(keeper.ends)} restarts, {seconds:.1f} s")
    return {BROKEN: 1}.get(code, code) or int(bool(counts.failed))


def _told(counts: Counts) -> str:
    ended = counts.answered + counts.failed
    failed = f", {counts.failed} of them failed" if counts.failed else ""
    return f"{ended} of {ended + counts.unfinished} done{failed}"


def _cause(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return "has no cluster any more" if code == LOST else f"ended with exit code {code}"


def _say(words: str) -> None:
    print(f"aiflow: {words}", file=sys.stderr, flush=True)
