"""Spans: off they cost nothing, on they belong together, and they do not hold what they must not."""

import asyncio
import json
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aiflow import tracing
from aiflow.errors import InputError


@pytest.fixture
def kept():
    """What is traced."""
    exporter = InMemorySpanExporter()
    tracing.start(exporter=exporter)
    yield exporter
    tracing.stop()


def test_off_nothing_is_imported_and_nothing_happens():
    code = (
        "import sys, aiflow\nfrom aiflow import tracing\n"
        "with tracing.span('a') as span:\n    span.set({'b': 1})\n    assert not span\n"
        "assert tracing.traceparent() == '' and not tracing.on()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_begins_in_a_span_belongs_to_it_also_in_tasks_and_elsewhere(kept):
    async def inner(name):
        with tracing.span(name):
            await asyncio.sleep(0)

    async def outer():
        with tracing.span("outer"):
            await asyncio.gather(inner("one"), inner("two"))
            return tracing.traceparent()

    above = asyncio.run(outer())
    with tracing.span("elsewhere", above=above):
        pass
    with tracing.span("alone", above="00-no-traceparent"):
        pass
    spans = {span.name: span for span in kept.get_finished_spans()}
    outer_span = spans["outer"]
    for name in ("one", "two", "elsewhere"):
        assert spans[name].parent.span_id == outer_span.context.span_id
        assert spans[name].context.trace_id == outer_span.context.trace_id
    assert spans["alone"].parent is None


def test_errors_say_what_they_are_and_not_what_they_say(kept):
    with pytest.raises(InputError), tracing.span("fails"):
        raise InputError("'my secret' is not usable")
    (span,) = kept.get_finished_spans()
    assert (span.status.description, span.attributes["error.type"]) == ("InputError", "InputError")
    assert not span.events
    assert "secret" not in span.to_json()


def test_with_prompts_they_say_it():
    exporter = InMemorySpanExporter()
    tracing.start(exporter=exporter, prompts=True)
    try:
        with pytest.raises(InputError), tracing.span("fails"):
            raise InputError("'my secret' is not usable")
        assert exporter.get_finished_spans()[0].status.description == "'my secret' is not usable"
    finally:
        tracing.stop()


async def test_a_stream_is_under_way_only_while_it_works(kept):
    async def pieces():
        for number in range(3):
            with tracing.span(f"piece {number}"):
                pass
            yield number

    seen = []
    async for number in tracing.follow(tracing.span("stream"), pieces(), seen.append):
        with tracing.span(f"between {number}"):
            pass
    spans = {span.name: span for span in kept.get_finished_spans()}
    assert seen == [0, 1, 2]
    assert spans["piece 2"].parent.span_id == spans["stream"].context.span_id
    assert spans["between 1"].parent is None


async def test_a_stream_that_is_left_is_cancelled_and_one_that_fails_has_failed(kept):
    async def pieces(fail):
        yield 1
        if fail:
            raise InputError("no")
        yield 2

    left = tracing.follow(tracing.span("left"), pieces(False))
    await anext(left)
    await left.aclose()
    with pytest.raises(InputError):
        [item async for item in tracing.follow(tracing.span("failed"), pieces(True))]
    spans = {span.name: span for span in kept.get_finished_spans()}
    assert spans["left"].attributes["aiflow.cancelled"]
    assert spans["left"].status.is_unset
    assert spans["failed"].attributes["error.type"] == "InputError"


def test_a_file_gets_a_line_for_each_span(tmp_path, monkeypatch):
    monkeypatch.delenv(tracing.TARGET, raising=False)
    monkeypatch.chdir(tmp_path)
    tracing.start("spans.jsonl", node="phone")
    try:
        with tracing.span("a", {"count": 2, "absent": None}) as span:
            span.event("half")
            with tracing.span("b"):
                pass
        assert tracing.environment()[tracing.TARGET] == str(tmp_path / "spans.jsonl")
    finally:
        tracing.stop()
    b, a = map(json.loads, (tmp_path / "spans.jsonl").read_text().splitlines())
    assert (a["name"], a["parent"], a["attributes"], a["node"]) == ("a", None, {"count": 2}, "phone")
    assert (b["parent"], b["trace"]) == (a["span"], a["trace"])
    assert a["events"][0]["name"] == "half"
    assert not tracing.environment()


@pytest.mark.parametrize("target", ["/nowhere/spans.jsonl", "ftp://collector"])
def test_targets_that_cannot_be_used(target):
    with pytest.raises(InputError, match="give"):
        tracing.start(target)
    assert not tracing.on()


def test_the_environment_switches_it_on_and_its_mistakes_do_not_stop_anybody(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(tracing.TARGET, "/nowhere/spans.jsonl")
    tracing.from_environment()
    assert not tracing.on()
    assert "nothing is traced" in caplog.text
    monkeypatch.setenv(tracing.TARGET, str(tmp_path / "spans.jsonl"))
    tracing.from_environment()
    assert tracing.on()
    tracing.stop()
    monkeypatch.setenv(tracing.TARGET, str(tmp_path / "spans.jsonl"))
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracing.from_environment()
    assert not tracing.on()
