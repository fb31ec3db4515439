"""Traces: where the time of a request goes, as OpenTelemetry spans of all its parts, on whatever node they run.

Off unless ``start`` or the environment switches it on; until then nothing of OpenTelemetry is imported, and a span is
an object that does nothing. Spans hold names, counts and times, and of errors the kind; what was asked and answered
only with ``prompts``. Who makes spans of what is not known here.
"""

import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from aiflow.tracing.span import NOTHING, Span, Value

__all__ = ["NOTHING", "Span", "Value", "environment", "flush", "follow", "from_environment", "on", "prompts"]
__all__ += ["span", "start", "stop", "traceparent"]

T = TypeVar("T")
TARGET = "AIFLOW_TRACES"
"""Variable of the environment that says where spans go: a collector's URL, or a file."""
PROMPTS = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""Variable that says whether they hold prompts and answers: ``true``."""
COLLECTORS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own variables, for a collector."""

_source: Any = None  # of live spans: an OpenTelemetry tracer and its provider
_prompts = False


def start(target: str = "", *, prompts: bool = False, node: str = "", exporter: Any = None) -> None:
    """Traces this process from now on, and what its agents do in theirs. Starting again changes nothing.

    ``target``: ``http://collector:4318``, or a file, which gets a line of JSON for each span ("": what the environment
    says). ``node``: where the process runs; ``exporter``: a SpanExporter of your own. Raises UsageError for a target
    that cannot be used, or if the extra ``otel`` is not installed.
    """
    global _source, _prompts
    if _source is not None:
        return
    from aiflow.tracing.output import open_source

    if target and "://" not in target:
        target = os.path.abspath(target)
    _source, _prompts = open_source(target, node, exporter), prompts
    if target:
        os.environ[TARGET] = target
    if prompts:
        os.environ[PROMPTS] = "true"


def from_environment(node: str = "") -> None:
    """Starts if the environment says so; what is wrong with it is logged and traces nothing."""
    if _source is not None or not any(os.environ.get(name) for name in (TARGET, *COLLECTORS)):
        return
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return
    from aiflow.tracing.output import try_to

    wanted = os.environ.get(PROMPTS, "").lower() in ("1", "true")
    try_to(lambda: start(os.environ.get(TARGET, ""), prompts=wanted, node=node))


def environment() -> dict[str, str]:
    """The variables by which another process traces as this one does. No headers, which may hold keys."""
    return {name: os.environ[name] for name in (TARGET, PROMPTS, *COLLECTORS) if name in os.environ} if on() else {}


def stop() -> None:
    """Sends what is left and traces no longer."""
    global _source, _prompts
    source, _source, _prompts = _source, None, False
    os.environ.pop(TARGET, None)
    if source is not None:
        source.close()


def flush() -> None:
    """Sends what is left now."""
    if _source is not None:
        _source.flush()


def on() -> bool:
    """Whether this process is traced."""
    return _source is not None


def prompts() -> bool:
    """Whether spans may hold what was asked and answered."""
    return _prompts


def span(
    name: str, values: Mapping[str, Value | None] | None = None, *, kind: str = "internal", above: str = ""
) -> Span:
    """A part of what is under way here. In ``with`` it is what others that begin there, and in tasks, belong to.

    ``kind``: "server", "client" or "internal". ``above``: the W3C ``traceparent`` of a part elsewhere it belongs to.
    """
    return NOTHING if _source is None else _source.span(name, values or {}, kind, above, _prompts)


def traceparent() -> str:
    """What a part elsewhere is told so that it belongs to the one under way here; "" if nothing is traced."""
    return "" if _source is None else _source.traceparent()


async def follow(part: Span, items: AsyncGenerator[T], each: Callable[[T], None] = lambda _: None) -> AsyncGenerator[T]:
    """``items``, which work in ``part``; it ends with them. Between two of them it is not the part under way."""
    try:
        async with aclosing(items):
            while True:
                with part.under_way():
                    try:
                        item = await anext(items)
                    except StopAsyncIteration:
                        return
                each(item)
                yield item
    except BaseException as error:
        part.failed(error)
        raise
    finally:
        part.end()
