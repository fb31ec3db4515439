"""Spans of shared inferences and streams, and what of a model's name they show."""

import asyncio

import pytest
import speakers
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from speakers import emptied

from aiflow import tracing
from aiflow.agents import wire
from aiflow.agents.deployment import connect
from aiflow.agents.spans import model_name
from aiflow.errors import DeadlineError
from aiflow.types import Message, Options

HOME = """
nodes: {phone: device, hub: cloud}
links:
  - {between: [device, cloud], rate: 2 MB/s, rtt: 4 ms}
"""


@pytest.fixture
def kept():
    """What is traced."""
    exporter = InMemorySpanExporter()
    tracing.start(exporter=exporter)
    yield exporter
    tracing.stop()


async def test_collaborative_decoding_is_one_span_with_counts(kept, tmp_path):
    folders = speakers.folders(tmp_path)
    async with connect(HOME, local=True, emulate=False) as home:
        phone = home.agent("phone", node="phone", model=folders["small"], options={"max_tokens": 8})
        hub = home.agent("hub", node="hub", model=folders["big"], options={"max_tokens": 8})
        answer = await phone.speculative_decode("two plus two", judges=[hub])
        assert (phone.tally.asked, phone.tally.in_flight, phone.tally.failed) == (1, 0, {})
        await emptied(phone, hub)
    (span,) = [span for span in kept.get_finished_spans() if span.name == "decode phone"]
    found = dict(span.attributes)
    assert found["aiflow.with"] == ("hub",)
    assert found["aiflow.rounds.hub"] == answer.rounds["hub"] > 0
    assert found["aiflow.judged"] == answer.judged
    assert found["gen_ai.usage.output_tokens"] == answer.usage.completion_tokens
    assert found["aiflow.link.phone-hub.bytes"] == answer.bytes["phone-hub"]
    assert "aiflow.cancelled" not in found
    assert "two plus" not in span.to_json()


async def test_a_deadline_is_an_error_and_a_cancelled_ask_is_none(kept):
    async with connect(HOME, local=True, emulate=False) as home:
        hung = home.agent("hung", node="hub", model="scripted:echo", fail="hang")
        with pytest.raises(DeadlineError):
            await hung.ask("?", deadline=0.05)
        task = asyncio.ensure_future(hung.ask("?"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (hung.tally.asked, hung.tally.in_flight) == (2, 0)
        assert hung.tally.failed == {"DeadlineError": 1}
    late, left = [span for span in kept.get_finished_spans() if span.name == "ask hung"]
    assert late.attributes["error.type"] == "DeadlineError"
    assert left.attributes["aiflow.cancelled"]
    assert left.status.is_unset


async def test_a_stream_that_is_read_to_its_answer_is_whole(kept):
    async with connect(HOME, local=True, emulate=False) as home:
        agent = home.agent("words", node="hub", model="scripted:one two three")
        async for _ in agent.stream("?"):
            pass
        assert agent.tally.in_flight == 0
    spans = {span.name: span for span in kept.get_finished_spans()}
    assert spans["ask words"].attributes["gen_ai.usage.output_tokens"] == 3
    assert spans["ask words"].attributes["gen_ai.response.time_to_first_chunk"] >= 0
    assert spans["chat scripted"].parent.span_id == spans["ask words"].context.span_id
    assert [event.name for event in spans["chat scripted"].events] == ["first token"]


def test_an_ask_carries_the_trace_and_is_read_without_one():
    turns = [Message("user", "?")]
    above = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert wire.decode_ask(wire.encode_ask("1", turns, Options(), above)).trace == above
    plain = wire.encode_ask("1", turns, Options())
    assert wire.decode_ask(plain).trace == ""
    assert b"trace" not in plain


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("scripted:the secret answer", "scripted"),
        ("https://user:key@host/v1#name", "https://host/v1#name"),
        ("http://host/v1#name", "http://host/v1#name"),
        ("org/model", "org/model"),
        ("x" * 300, "x" * 100),
        (None, None),
    ],
)
def test_names_of_models_hold_no_keys_and_no_answers(model, shown):
    assert model_name(model) == shown
