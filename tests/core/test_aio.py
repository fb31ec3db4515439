"""The bridge from sync to async."""

import asyncio
import contextvars
import threading
import time

import pytest

from aiflow import aio

NAME = contextvars.ContextVar("NAME", default="nobody")


def test_results_errors_and_context_pass():
    async def work():
        await asyncio.sleep(0)
        return NAME.get(), threading.current_thread().name

    NAME.set("ann")
    assert aio.run(work()) == ("ann", "aiflow")

    async def fail():
        raise KeyError("k")

    with pytest.raises(KeyError):
        aio.run(fail())


def test_it_works_inside_a_running_loop_of_the_caller():
    async def outer():
        return aio.run(asyncio.sleep(0, "inner"))

    assert asyncio.run(outer()) == "inner"


def test_calls_from_threads_share_the_loop():
    async def loop_id():
        return id(asyncio.get_running_loop())

    seen = []
    threads = [threading.Thread(target=lambda: seen.append(aio.run(loop_id()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert len(set(seen)) == 1


def test_waiting_for_itself_is_an_error():
    async def inner():
        return aio.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="await the coroutine"):
        aio.run(inner())


def test_an_interrupted_wait_cancels_the_work(monkeypatch):
    cancelled = threading.Event()

    async def work():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    class Interrupted(aio.Future):
        def result(self, timeout=None):  # noqa: ARG002
            time.sleep(0.05)
            raise KeyboardInterrupt

    monkeypatch.setattr(aio, "Future", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        aio.run(work())
    assert cancelled.wait(5)
