"""An answer in server-sent events. What fails before the first byte has a status; later it is an event.

While nothing is said for a while, a comment is sent, which clients pass over: proxies and clients that give a silent
connection up see that it is alive. From then on a failure is an event.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiflow.errors import AiflowError
from aiflow.serve.exchange import Present
from aiflow.serve.front import Scope, Send
from aiflow.serve.outcome import Outcome, costs, usage
from aiflow.serve.prompts import pieces
from aiflow.serve.reading import Receive
from aiflow.serve.replies import event

if TYPE_CHECKING:
    from aiflow.serve.service import Ask, Service

COMMENT = b": still at work\n\n"


class Stream:
    """The ASGI application that sends it."""

    def __init__(self, service: "Service", ask: "Ask") -> None:
        self._service, self._ask = service, ask
        self._started, self._left = False, len(ask.talks)
        self._turn = asyncio.Lock()  # a comment never comes between the head and the first piece

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Sends it."""
        pulse = _Pulse(self._service.keep_alive, lambda: self._write(send, COMMENT))
        try:
            async with (
                Present(receive, self._service.deadline),
                aclosing(pieces(self._ask.model, self._ask.talks, self._ask.given, self._ask.exchange.bill)) as said,
            ):
                async for index, piece in said:
                    pulse.touch()
                    await self._write(send, self._event(index, piece))
        except (AiflowError, TimeoutError) as error:
            refused = self._service.refused(self._ask, error)
            if not self._started:
                raise refused from None
            self._ask.exchange.status = refused.status
            await self._write(send, event({"error": refused.error}, "error"))
        finally:
            pulse.stop()
        async with self._turn:
            await send({"type": "http.response.body", "body": b""})

    async def _write(self, send: Send, data: bytes) -> None:
        async with self._turn:
            if not self._started:
                self._started = True
                headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                data = self._ask.form.first() + data
            await send({"type": "http.response.body", "body": data, "more_body": True})

    def _event(self, index: int, piece: str | Outcome) -> bytes:
        form, exchange = self._ask.form, self._ask.exchange
        if isinstance(piece, str):
            return form.piece(piece, index)
        self._service.ended(self._ask, piece)
        self._left -= 1
        if self._left:
            return form.end(piece, index)
        extra = costs(exchange.bill, exchange.marks)
        return form.last(piece, usage(exchange.bill), extra, include_usage=self._ask.include_usage, index=index)


class _Pulse:
    """Beats after every ``seconds`` in which it was not touched; None: never. A timer, not a task for each piece."""

    def __init__(self, seconds: float | None, beat: Callable[[], Awaitable[None]]) -> None:
        self._beat, self._loop = beat, asyncio.get_running_loop()
        self._task: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = self._loop.time()
        if seconds is not None:
            self._seconds = seconds
            self._timer = self._loop.call_later(seconds, self._look)

    def touch(self) -> None:
        """Something was sent."""
        self._last = self._loop.time()

    def stop(self) -> None:
        """No more beats."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def _look(self) -> None:
        rest = self._last + self._seconds - self._loop.time()
        if rest <= 0:
            rest, self._last = self._seconds, self._loop.time()
            if self._task is None or self._task.done():  # else the client reads nothing
                self._task = asyncio.ensure_future(self._beat())
        self._timer = self._loop.call_later(rest, self._look)
