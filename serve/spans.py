"""The span of a request to the gateway (``aiflow.tracing``); it continues the trace of a caller that sends one."""

from collections.abc import Mapping, MutableMapping
from typing import Any

from aiflow import tracing
from aiflow.serve.exchange import GONE, NOBODY, Exchange
from aiflow.serve.reading import header
from aiflow.tracing import NOTHING, Span

_PATHS = {"chat": "/v1/chat/completions", "completion": "/v1/completions", "models": "/v1/models"}
_UNSEEN = ("/health", "/metrics", "/status", "/openapi.json")  # asked again and again by who looks on


def span_of(scope: MutableMapping[str, Any]) -> Span:
    """The span of a request that begins now."""
    if not tracing.on() or scope["path"] in _UNSEEN:
        return NOTHING
    above = header(scope["headers"], b"traceparent")
    return tracing.span(scope["method"], {"http.request.method": scope["method"]}, kind="server", above=above)


def finish(span: Span, exchange: Exchange) -> None:
    """What came of it. Nothing that a caller wrote is in it, but for the name of a model that exists."""
    if not span:
        return
    path = _PATHS.get(exchange.route)
    values: dict[str, Any] = {
        "http.route": path,
        "http.response.status_code": exchange.status,
        "aiflow.request": exchange.id,
        **_used(exchange),
    }
    span.set(values)
    if path is not None:
        span.rename(f"POST {path}" if exchange.route != "models" else f"GET {path}")
    if exchange.status == GONE:
        span.set({"aiflow.cancelled": True})
    elif exchange.status >= 500:
        span.fail(str(exchange.status))


def _used(exchange: Exchange) -> Mapping[str, Any]:
    if exchange.model == NOBODY:
        return {}
    return {
        "gen_ai.request.model": exchange.model,
        "gen_ai.usage.input_tokens": sum(answer.usage.prompt_tokens for answer in exchange.bill),
        "gen_ai.usage.output_tokens": sum(answer.usage.completion_tokens for answer in exchange.bill),
    }
