"""The outermost ASGI layer: an id for every request, one line of log, metrics, and no error without OpenAI's form."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from aiflow.serve.drain import Drain
from aiflow.serve.exchange import GONE, Exchange
from aiflow.serve.logs import frames, log
from aiflow.serve.metrics import Metrics
from aiflow.serve.reading import Gone, Receive, header
from aiflow.serve.refusal import Refusal, crash
from aiflow.serve.spans import finish, span_of

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON = (b"content-type", b"application/json")


class Front:
    """``hosts``: the names by which it may be called; None: any. ``log_prompts``: errors may be logged in full."""

    def __init__(
        self, app: App, metrics: Metrics, hosts: Collection[str] | None, *, log_prompts: bool, drain: Drain
    ) -> None:
        self.drain = drain
        self._app, self._metrics, self._hosts, self._log_prompts = app, metrics, hosts, log_prompts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = scope["aiflow"] = Exchange()
        scope["app"] = self  # tells the router that what it refuses is answered here

        async def tell(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                exchange.status = exchange.status or message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", exchange.id.encode())]
            await send(message)

        self._metrics.begun()
        with span_of(scope) as span:
            await self._answer(scope, receive, tell, exchange)
            finish(span, exchange)

    async def _answer(self, scope: Scope, receive: Receive, tell: Send, exchange: Exchange) -> None:
        try:
            self._check_host(scope)
            self.drain.check(scope["path"])
            await self._app(scope, receive, tell)
        except Refusal as refusal:
            await refuse(refusal, tell)
        except HTTPException as error:
            await refuse(_of_http(error), tell)
        except Gone:
            exchange.status = GONE
        except asyncio.CancelledError:
            if not self.drain.begun:
                raise
            exchange.note = " cut off by the end of the gateway"
            if not exchange.status:  # else the client sees a stream that stops short
                await refuse(self.drain.late(), tell)
        except Exception as error:  # noqa: BLE001 - a bug: frames without values to the log, one line to the caller
            self._log_crash(exchange, error)
            if not exchange.status:
                await refuse(crash(), tell)
        finally:
            self._end(exchange)

    def _check_host(self, scope: Scope) -> None:
        if self._hosts is None:
            return
        name = header(scope["headers"], b"host")
        name = name[: name.find("]") + 1] if name.startswith("[") else name.partition(":")[0]
        if name.lower() not in self._hosts:
            message = "this gateway is not called by this name; see 'hosts' in its configuration."
            raise Refusal(403, message, code="unknown_host")

    def _log_crash(self, exchange: Exchange, error: Exception) -> None:
        words = str(error) if self._log_prompts else "message not logged"
        where = frames(error.__traceback__)
        log.error("%s failed: %s (%s)\n%s", exchange.id, type(error).__name__, words, where)

    def _end(self, exchange: Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        if exchange.slot is not None:
            exchange.slot.settle(exchange.tokens)
            exchange.slot.close()
        self._metrics.done()
        self._metrics.ended(exchange.route, exchange.model, exchange.status, seconds)
        self._metrics.answers(exchange.bill, exchange.marks)
        self._metrics.steps(exchange.model, exchange.steps)
        if log.isEnabledFor(logging.INFO):
            log.info(
                "%s %s model=%s key=%s status=%d ms=%.1f tokens=%d%s",
                exchange.id,
                exchange.route,
                exchange.model,
                exchange.caller,
                exchange.status,
                seconds * 1000,
                exchange.tokens,
                exchange.note,
            )


async def refuse(refusal: Refusal, send: Send) -> None:
    """Sends a refusal."""
    body = refusal.body
    headers = [_JSON, (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _of_http(error: HTTPException) -> Refusal:
    if error.status_code == 405:
        message, code = "this path is not asked by this method.", "method_not_allowed"
    else:
        message, code = "there is nothing at this path.", "not_found"
    return Refusal(error.status_code, message, code=code, headers=error.headers)
