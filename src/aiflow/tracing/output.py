"""Where spans go: to a collector (OTLP over HTTP), into a file, or to an exporter of the user's own."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult

from aiflow.errors import AiflowError, InputError, UsageError
from aiflow.tracing.live import Live, traceparent
from aiflow.tracing.span import Value

log = logging.getLogger(__name__)
_PATH = "/v1/traces"
_SOON = 500  # milliseconds until spans are sent: an agent's process may be ended at any moment
_FLUSH = 2000  # milliseconds that sending the last ones may take
_PATIENCE = 3.0  # seconds for one attempt to reach a collector


class Source:
    """Makes spans, and sends them."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("aiflow")
        self.traceparent = traceparent

    def span(self, name: str, values: Mapping[str, Value | None], kind: str, above: str, prompts: bool) -> Live:
        """A span that begins now."""
        return Live(self._tracer, name, values, kind, above, prompts)

    def flush(self) -> None:
        """Sends what is left."""
        self._provider.force_flush(_FLUSH)

    def close(self) -> None:
        """Sends what is left, for the last time."""
        self.flush()
        self._provider.shutdown()


class Lines(SpanExporter):
    """A file with a line of JSON for each span; several processes may write into one."""

    def __init__(self, path: str) -> None:
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            message = f"traces cannot be written into {path!r} ({error.strerror}); give another file."
            raise InputError(message) from error

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Writes each in one piece, so that lines of several processes do not mix."""
        for span in spans:
            os.write(self._file, (json.dumps(_row(span)) + "\n").encode())
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Closes the file. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def open_source(target: str, node: str, exporter: SpanExporter | None) -> Source:
    """See `start`. The provider becomes the process's own unless it has one, so that libraries' spans join."""
    provider = TracerProvider(resource=_resource(node))
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        return Source(provider)
    if target and "://" not in target:
        provider.add_span_processor(SimpleSpanProcessor(Lines(target)))
    else:
        soon = None if "OTEL_BSP_SCHEDULE_DELAY" in os.environ else _SOON
        provider.add_span_processor(BatchSpanProcessor(_collector(target), schedule_delay_millis=soon))
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)
    return Source(provider)


def try_to(begin: Callable[[], None]) -> None:
    """Starts tracing where nobody asked for it by a flag: that it is not possible is no reason to end."""
    try:
        begin()
    except AiflowError as error:
        log.warning("nothing is traced: %s", error)


def _collector(target: str) -> SpanExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise UsageError(f"traces to a collector need {error.name}; install it: pip install 'aiflow[otel]'.") from error
    patience = None if "OTEL_EXPORTER_OTLP_TIMEOUT" in os.environ else _PATIENCE
    if not target:
        return OTLPSpanExporter(timeout=patience)
    if not target.startswith(("http://", "https://")):
        raise InputError(f"traces cannot go to {target!r}; give http://HOST:4318, or a file.")
    return OTLPSpanExporter(endpoint=target if target.endswith(_PATH) else target.rstrip("/") + _PATH, timeout=patience)


def _resource(node: str) -> Resource:
    given: dict[str, Any] = {"process.pid": os.getpid(), **({"aiflow.node": node} if node else {})}
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create(given if named else {"service.name": "aiflow", **given})


def _row(span: ReadableSpan) -> dict[str, Any]:
    context, upper = span.get_span_context(), span.parent
    start, end = span.start_time or 0, span.end_time or 0
    row: dict[str, Any] = {
        "name": span.name,
        "trace": f"{context.trace_id:032x}" if context else "",
        "span": f"{context.span_id:016x}" if context else "",
        "parent": f"{upper.span_id:016x}" if upper else None,
        "start": start / 1e9,
        "seconds": round((end - start) / 1e9, 6),
        "node": span.resource.attributes.get("aiflow.node"),
        "pid": span.resource.attributes.get("process.pid"),
        "attributes": dict(span.attributes or {}),
    }
    if span.status.status_code is trace.StatusCode.ERROR:
        row["error"] = span.status.description
    if span.events:
        row["events"] = [
            {"name": event.name, "after": round((event.timestamp - start) / 1e9, 6), **(event.attributes or {})}
            for event in span.events
        ]
    return row
