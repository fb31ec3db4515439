"""Answers the open requests of a journal with a graph, each from its last checkpoint on.

A driver is one call of ``work``; several may share a journal, in one process or in many. It knows neither Ray nor
topologies: a graph whose agents stand on a cluster that is gone fails, and another driver goes on from the journal.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from aiflow.errors import AgentError, DeadlineError, UsageError
from aiflow.graphs.checkpoints import sqlite
from aiflow.graphs.journal import LEASE, Journal, Request, driver_name

BACKOFF, LONGEST = 0.5, 30.0  # seconds before the second attempt, and at most; they double in between
_POLL, _STUBBORN = 0.2, 5.0  # seconds; the second is what a cancelled step is waited for


def last_message(state: Any) -> Any:
    """``{"answer": text of the last message, "trace": the trace}`` of a graph's final state; other states whole."""
    if not isinstance(state, Mapping) or not state.get("messages"):
        return state
    return {"answer": state["messages"][-1].text, "trace": state.get("trace", [])}


def with_checkpoints(graph: Any, saver: BaseCheckpointSaver[Any]) -> Any:
    """``graph`` (compiled or not) as a compiled graph that keeps its checkpoints by ``saver``. Raises UsageError."""
    if hasattr(graph, "compile"):
        return graph.compile(checkpointer=saver)
    if not hasattr(graph, "checkpointer") or not hasattr(graph, "aget_state"):
        raise UsageError(f"{type(graph).__name__} is no LangGraph graph; give a StateGraph, compiled or not.")
    return graph.copy(update={"checkpointer": saver})


async def work(
    journal: Journal,
    graph: Any,
    *,
    parallel: int = 8,
    deadline: float | None = None,
    attempts: int = 5,
    driver: str | None = None,
    lease: float = LEASE,
    backoff: float = BACKOFF,
    stopping: Callable[[], bool] = lambda: False,
    answer: Callable[[Any], Any] = last_message,
) -> None:
    """Answers requests until all of the journal have an answer or a final error, whoever gave it.

    A request is one thread (``thread_id`` is its id) whose checkpoints lie in the journal's file: one that has a
    checkpoint goes on from it. No step starts before the last one is on disk. What fails is tried again from there,
    ``attempts`` times by this driver, after a wait that doubles; a UsageError is final at once.

    Args:
        graph: A LangGraph graph. Its inputs are the requests', its checkpointer is replaced.
        parallel: Requests at a time.
        deadline: Seconds for each attempt.
        driver: Under which name requests are held; no two that run may have the same.
        lease: Seconds after which others take the driver for dead.
        stopping: Asked now and then; once it says True no request is begun, and the running ones are waited for.
        answer: What of the final state is kept, as JSON.

    Cancelling it gives what is running back. Raises UsageError for a graph that keeps no checkpoints.
    """
    saver = sqlite(journal.path)
    try:
        crew = _Driver(
            journal, with_checkpoints(graph, saver), driver or driver_name(), deadline, attempts, backoff, answer
        )
        with _heartbeat(journal, crew, lease):
            await crew.run(parallel, lease, stopping)
    finally:
        saver.close()


class _Driver:
    def __init__(
        self,
        journal: Journal,
        graph: Any,
        name: str,
        deadline: float | None,
        attempts: int,
        backoff: float,
        answer: Callable[[Any], Any],
    ) -> None:
        self.journal, self.graph, self.name = journal, graph, name
        self.deadline, self.attempts, self.backoff, self.answer = deadline, attempts, backoff, answer
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self, parallel: int, lease: float, stopping: Callable[[], bool]) -> None:
        try:
            self.journal.give_back(self.name)  # of a process that had this name before
            while True:
                stop = stopping()
                free = 0 if stop else parallel - len(self.tasks)
                for request in await asyncio.to_thread(self.journal.take, self.name, free, lease=lease) if free else ():
                    self.tasks[request.id] = asyncio.create_task(self._answer(request))
                if self.tasks:
                    await asyncio.wait(self.tasks.values(), timeout=_POLL, return_when=asyncio.FIRST_COMPLETED)
                    self._collect()
                elif stop or not (await asyncio.to_thread(self.journal.counts)).unfinished:
                    return
                else:  # other drivers hold the rest; what they do not finish is taken over
                    await asyncio.sleep(_POLL)
        finally:
            for task in self.tasks.values():
                task.cancel()
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)
            self.journal.give_back(self.name)

    def leave(self, lost: set[str]) -> None:
        """Stops working on what another driver has taken over."""
        for id in lost & set(self.tasks):
            self.tasks[id].cancel()

    def _collect(self) -> None:
        for id in [id for id, task in self.tasks.items() if task.done()]:
            task = self.tasks.pop(id)
            if task.cancelled():  # taken over, as far as was known
                self.journal.give_back(self.name, id)
            else:
                task.result()  # the journal's own errors rise

    async def _answer(self, request: Request) -> None:
        """Attempts until there is an end."""
        config = {"configurable": {"thread_id": request.id}}
        tried, first = 0, True  # other drivers' attempts do not count: they may have lost their cluster
        while True:
            begun = await self.graph.checkpointer.aget_tuple(config) is not None
            if first and begun and request.taken > 1:
                await asyncio.to_thread(self.journal.resume, request.id)
            first = False
            error = await self._attempt(request.id, None if begun else request.input, config)
            if error is None:
                return
            said = f"{type(error).__name__}: {error}"
            tried += 1
            await asyncio.to_thread(self.journal.missed, request.id, said)
            if isinstance(error, UsageError) or tried >= self.attempts:
                await asyncio.to_thread(self.journal.fail, request.id, said)
                return
            await asyncio.sleep(min(LONGEST, self.backoff * 2 ** (tried - 1)))

    async def _attempt(self, id: str, input: Any, config: Any) -> BaseException | None:
        """Runs the graph once; why there is no answer. What users' nodes raise is their request's end, not ours."""
        running = asyncio.ensure_future(self._run(input, config))
        try:
            await asyncio.wait({running}, timeout=self.deadline)
            if not running.done():
                return DeadlineError(f"no answer within {self.deadline:g} s")
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait({running}, timeout=_STUBBORN)
        if running.cancelled():
            return AgentError("the graph gave up")
        if error := running.exception():
            return error
        try:
            await asyncio.to_thread(self.journal.finish, id, running.result())
        except UsageError as unusable:
            return unusable
        return None

    async def _run(self, input: Any, config: Any) -> Any:
        state = await self.graph.ainvoke(input, config, durability="sync")
        if isinstance(state, Mapping) and state.get("__interrupt__"):
            raise UsageError("the graph stopped to ask a person; a batch can only run graphs that need nobody.")
        return self.answer(state)


@contextmanager
def _heartbeat(journal: Journal, crew: _Driver, lease: float) -> Iterator[None]:
    """Renews the leases from a thread, so that a node that blocks the event loop does not lose them."""
    loop, ended = asyncio.get_running_loop(), threading.Event()

    def beat() -> None:
        while not ended.wait(lease / 4):
            mine = set(crew.tasks)  # before asking: what is taken meanwhile is not lost
            try:
                lost = mine - journal.renew(crew.name, lease=lease)
                loop.call_soon_threadsafe(crew.leave, lost)
            except (sqlite3.Error, RuntimeError):  # a file that is busy for long, a loop that has just been closed
                continue

    thread = threading.Thread(target=beat, name="aiflow-journal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
