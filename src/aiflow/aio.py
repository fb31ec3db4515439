"""The one bridge from synchronous callers to the async core.

``run`` drives a coroutine on a background event loop that lives as long as the process, so that actors, links and
checkpoints see one loop whether the caller is a script, a notebook (whose own loop is busy) or a thread.
"""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="aiflow", daemon=True).start()
    return loop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs ``coroutine`` on the background loop, in the caller's context variables, and waits for its result.

    An interrupted wait (Ctrl-C) cancels the coroutine. Raises RuntimeError when called from the background loop
    itself, which would wait for itself forever.
    """
    loop = _loop()
    if threading.current_thread().name == "aiflow":
        coroutine.close()
        raise RuntimeError("aiflow.aio.run was called from async code; await the coroutine instead.")
    done: Future[T] = Future()
    context = contextvars.copy_context()

    def start() -> None:
        task = loop.create_task(coroutine, context=context)
        task.add_done_callback(functools.partial(_settle, done))
        done.add_done_callback(lambda f: loop.call_soon_threadsafe(task.cancel) if f.cancelled() else None)

    loop.call_soon_threadsafe(start)
    try:
        return done.result()
    except BaseException:
        done.cancel()
        raise


def _settle(done: "Future[T]", task: "asyncio.Task[T]") -> None:
    if task.cancelled():
        done.cancel()
    elif not done.cancelled():
        error = task.exception()
        done.set_exception(error) if error else done.set_result(task.result())
