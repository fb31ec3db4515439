"""One request from its first to its last byte: who asks what, and how it ends. Knows no routes and no models."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from aiflow.graphs.steps import Ran
from aiflow.serve.limits import Slot
from aiflow.serve.reading import Gone, Receive
from aiflow.types import Answer

NOBODY = "-"
GONE = 499  # as nginx logs a client that went away
_MOMENT = 0.05  # seconds


@dataclass(kw_only=True, slots=True)
class Exchange:
    """What is written to the log and the metrics when the request has ended. Holds no text."""

    id: str = field(default_factory=lambda: token_hex(12))
    started: float = field(default_factory=time.perf_counter)
    route: str = NOBODY
    model: str = NOBODY
    caller: str = NOBODY
    status: int = 0
    note: str = ""
    slot: Slot | None = None
    bill: list[Answer] = field(default_factory=list)
    steps: list[Ran] = field(default_factory=list)
    marks: Sequence[Mapping[str, str]] = ()

    @property
    def tokens(self) -> int:
        """All that agents read and wrote for it."""
        return sum(answer.usage.prompt_tokens + answer.usage.completion_tokens for answer in self.bill)

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> "Exchange":
        """The one of a request, put there by ``Front``."""
        found: Exchange = scope["aiflow"]
        return found


class Present:
    """``async with Present(receive, seconds)``: cancels its body when the client goes away or the time is over.

    Raises Gone or TimeoutError then. What is done within a moment is never watched, which spares most requests a task.
    """

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive, self._seconds = receive, seconds
        self._watch: asyncio.Task[None] | None = None
        self._why: type[Exception] | None = None

    async def __aenter__(self) -> Self:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._timer = self._loop.call_later(min(_MOMENT, self._seconds), self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._why is not None and self._task is not None:
            self._task.uncancel()
            if kind is None or kind is asyncio.CancelledError:
                raise self._why from None

    def _begin(self) -> None:
        self._timer = self._loop.call_later(max(0.0, self._seconds - _MOMENT), self._end, TimeoutError)
        self._watch = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end(Gone)

    def _end(self, why: type[Exception]) -> None:
        if self._why is None and self._task is not None:
            self._why = why
            self._task.cancel()
