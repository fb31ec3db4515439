"""The gateway's log: one line a request on stderr, and of errors what they are, not what they say.

The words of an error may quote what a caller wrote, so they are left out unless prompts are to be logged.
"""

import asyncio
import logging
import sys
import traceback
from types import TracebackType
from typing import Any

log = logging.getLogger("aiflow.serve")
_FORM = "%(asctime)s %(levelname)s %(message)s"
_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Discreet(logging.Formatter):
    """Shows where an exception came from and its type."""

    def formatException(self, ei: _Raised) -> str:
        """The frames."""
        kind, _, trace = ei
        return frames(trace) + (kind.__name__ if kind else "")


def frames(trace: TracebackType | None) -> str:
    """Where something happened, a line of code for each frame."""
    return "".join(traceback.format_tb(trace))


def tell_discreetly(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG001
    """An event loop's handler of errors that nobody waited for."""
    error = context.get("exception")
    where = frames(error.__traceback__) if error else ""
    log.error("%s: %s\n%s", str(context.get("message", "")).splitlines()[0], type(error).__name__, where)


def log_to_stderr(level: int, *, log_prompts: bool) -> None:
    """Sends the logs of the whole process there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORM) if log_prompts else Discreet(_FORM))
    # What the format does not show need not be found out for each request.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.getLogger().addHandler(handler)
    logging.getLogger("aiflow").setLevel(level)
    if not log_prompts:
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # its errors may quote requests; ours do not
