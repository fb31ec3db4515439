"""What Prometheus is told: requests, steps, seconds, tokens, failures of agents, bytes by link. No text, no keys.

Labels are names from the configuration, routes and status codes, so that nobody can make new series by asking.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from aiflow.graphs.steps import Ran
from aiflow.types import Answer

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The gateway's own registry."""

    def __init__(self, *more: Collector) -> None:
        self._registry = CollectorRegistry()
        for collector in more:
            self._registry.register(collector)
        how: Mapping[str, Any] = {"registry": self._registry}
        self._requests = Counter("aiflow_requests", "Requests by how they ended.", ("route", "model", "status"), **how)
        self._seconds = Histogram(
            "aiflow_request_seconds", "Seconds until the answer was handed over.", ("model",), buckets=_SECONDS, **how
        )
        self._tokens = Counter("aiflow_agent_tokens", "Tokens that agents read and wrote.", ("agent", "kind"), **how)
        self._asked = Counter("aiflow_agent_answers", "Answers that agents gave.", ("agent",), **how)
        self._busy = Counter("aiflow_agent_seconds", "Seconds inside an agent's model.", ("agent",), **how)
        self._marks = Counter("aiflow_agent_marks", "Agents that were late, dead or failed.", ("agent", "mark"), **how)
        self._bytes = Counter("aiflow_link_bytes", "Bytes that crossed a link.", ("link",), **how)
        steps = ("graph", "step")
        self._steps = Histogram("aiflow_step_seconds", "Seconds of a graph's step.", steps, buckets=_SECONDS, **how)
        self._failed = Counter("aiflow_step_errors", "Steps that failed.", (*steps, "error"), **how)
        self.running = Gauge("aiflow_requests_running", "Requests under way.", registry=self._registry)
        self._under_way = 0
        self.running.set_function(lambda: self._under_way)
        self._known: dict[tuple[Any, ...], Any] = {}

    @property
    def under_way(self) -> int:
        """Requests that have not ended."""
        return self._under_way

    def begun(self) -> None:
        """A request begins."""
        self._under_way += 1

    def done(self) -> None:
        """It has ended."""
        self._under_way -= 1

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)

    def ended(self, route: str, model: str, status: int, seconds: float) -> None:
        """Counts one request."""
        self._child(self._requests, route, model, str(status)).inc()
        if status == 200:
            self._child(self._seconds, model).observe(seconds)

    def answers(self, given: Iterable[Answer], marks: Iterable[Mapping[str, str]]) -> None:
        """Counts what agents did for one request."""
        for answer in given:
            self._child(self._asked, answer.agent).inc()
            self._child(self._busy, answer.agent).inc(answer.usage.seconds)
            self._child(self._tokens, answer.agent, "prompt").inc(answer.usage.prompt_tokens)
            self._child(self._tokens, answer.agent, "completion").inc(answer.usage.completion_tokens)
            for link, count in answer.bytes.items():
                self._child(self._bytes, link).inc(count)
        for mark in marks:
            if mark["mark"] != "idle":
                self._child(self._marks, mark["agent"], mark["mark"]).inc()

    def steps(self, graph: str, rows: Iterable[Ran]) -> None:
        """Counts the steps of one run of a graph."""
        for row in rows:
            self._child(self._steps, graph, row.step).observe(row.seconds)
            if row.error:
                self._child(self._failed, graph, row.step, row.error).inc()

    def _child(self, metric: Any, *labels: str) -> Any:
        key = (id(metric), *labels)
        if key not in self._known:
            self._known[key] = metric.labels(*labels)
        return self._known[key]
