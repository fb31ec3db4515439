"""A span of OpenTelemetry, as the rest of aiflow uses it."""

from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from aiflow.tracing.span import Value

_KINDS = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "internal": trace.SpanKind.INTERNAL,
}
_W3C = TraceContextTextMapPropagator()
_GONE = (CancelledError, GeneratorExit)


class Live:
    """One span; see `Span`."""

    def __init__(
        self, tracer: Any, name: str, values: Mapping[str, Value | None], kind: str, above: str, prompts: bool
    ) -> None:
        upper = _W3C.extract({"traceparent": above}) if above else None
        self._span = tracer.start_span(name, upper, _KINDS[kind])
        self._prompts, self._ended = prompts, False
        self.set(values)

    def __bool__(self) -> bool:
        """Whether it is kept; a sampler may have said no."""
        return bool(self._span.is_recording())

    def __enter__(self) -> Self:
        """What begins now belongs to it."""
        self._token: Any = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Ends it."""
        context.detach(self._token)
        if error is not None:
            self.failed(error)
        self.end()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """What begins inside belongs to it."""
        token = context.attach(trace.set_span_in_context(self._span))
        try:
            yield
        finally:
            context.detach(token)

    def rename(self, name: str) -> None:
        """Gives it another name."""
        self._span.update_name(name)

    def set(self, values: Mapping[str, Value | None]) -> None:
        """Adds attributes."""
        for name, value in values.items():
            if value is not None and not self._ended:
                self._span.set_attribute(name, value)

    def event(self, name: str, values: Mapping[str, Value] | None = None) -> None:
        """Notes that something happened."""
        self._span.add_event(name, values)

    def fail(self, kind: str, words: str = "") -> None:
        """Marks it as failed."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(trace.StatusCode.ERROR, words if self._prompts and words else kind)

    def failed(self, error: BaseException) -> None:
        """Marks how it ended."""
        if self._ended:
            return
        if isinstance(error, _GONE):
            self._span.set_attribute("aiflow.cancelled", True)
        else:
            self.fail(type(error).__name__, str(error))

    def end(self) -> None:
        """Ends it; what happens later is not its."""
        if not self._ended:
            self._ended = True
            self._span.end()


def traceparent() -> str:
    """The W3C form of the span under way; "" if there is none."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent", "")
