"""The end of a gateway without lost answers: nothing new is taken, what runs may end, then it goes.

``Drain`` is what the application knows of it; ``Server`` is uvicorn told by a signal. A second signal ends at once.
"""

import time
from types import FrameType

import uvicorn

from aiflow.serve.logs import log
from aiflow.serve.metrics import Metrics
from aiflow.serve.reading import CLOSE
from aiflow.serve.refusal import AGAIN, SERVER, Refusal

OPEN = ("/health", "/metrics", "/status")
"""Paths that answer to the end."""


class Drain:
    """Whether the gateway is ending, and whether requests are under way."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.begun = False

    @property
    def idle(self) -> bool:
        """No request is under way."""
        return self._metrics.under_way == 0

    def check(self, path: str) -> None:
        """Raises Refusal (503) for a request that comes too late: another gateway may answer it."""
        if self.begun and path not in OPEN:
            raise self.late()

    def late(self) -> Refusal:
        """What is told to whoever gets no answer any more."""
        message = "this gateway is ending; ask again, another one may answer."
        return Refusal(503, message, kind=SERVER, code="draining", headers=AGAIN | CLOSE)


class Server(uvicorn.Server):
    """Uvicorn that drains for at most ``seconds`` before it shuts down."""

    def __init__(self, config: uvicorn.Config, drain: Drain, seconds: float) -> None:
        super().__init__(config)
        self._drain, self._seconds = drain, seconds
        self._limit = float("inf")

    def drain(self) -> None:
        """Begins the end."""
        self._drain.begun = True
        self._limit = time.monotonic() + self._seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the next ones end."""
        if self._drain.begun:
            super().handle_exit(sig, frame)
        else:
            self._captured_signals.append(sig)
            self.drain()

    async def on_tick(self, counter: int) -> bool:
        """Several times a second; True ends."""
        if self._drain.begun and not self.should_exit:
            late = time.monotonic() > self._limit
            if late:
                log.warning("requests that are under way after %g s are cut off", self._seconds)
            self.should_exit = late or self._drain.idle
        return await super().on_tick(counter)
