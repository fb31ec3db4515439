"""One request through the gateway, a graph and its agents as one trace, and what is not in it."""

import json

import httpx
import openai
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aiflow import tracing

SECRET = "hunter2 swordfish"
KEY = "sk-topsecret"
TALK = [{"role": "user", "content": SECRET}]
ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def kept():
    """What is traced."""
    exporter = InMemorySpanExporter()
    tracing.start(exporter=exporter)
    yield exporter
    tracing.stop()


@pytest.fixture
def team(serve):
    """A gateway with a graph of two agents, one of which fails."""
    members = {"server": "hub", "devices": ["math", "broken"], "select": "all", "revise": False, "deadline": "2 s"}
    with serve(graphs={"team": members}) as served:
        yield served


def ask(served, model, **how):
    with openai.OpenAI(base_url=served.url, api_key=KEY, max_retries=0) as client:
        answer = client.chat.completions.create(model=model, messages=TALK, **how)
        return list(answer) if how.get("stream") else answer


def tree(spans):
    """Names as parent and child."""
    names = {span.context.span_id: span.name for span in spans}
    return sorted((names.get(span.parent.span_id, "?") if span.parent else "", span.name) for span in spans)


def test_a_request_through_a_graph_is_one_trace(team, kept):
    ask(team, "team", extra_headers={"traceparent": ABOVE})
    spans = kept.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in spans} == {ABOVE.split("-")[1]}
    root = next(span for span in spans if span.name.startswith("POST"))
    assert f"{root.parent.span_id:016x}" == ABOVE.split("-")[2]
    found = tree(spans)
    assert ("?", "POST /v1/chat/completions") in found
    for step in ("select", "answer", "merge"):
        assert ("POST /v1/chat/completions", f"step {step}") in found
    assert ("step answer", "ask math") in found
    assert ("step answer", "ask broken") in found
    assert ("step merge", "ask hub") in found
    assert found.count(("ask math", "link phone-cloud")) == 2  # there and back
    assert ("ask math", "chat scripted") in found
    attributes = dict(root.attributes)
    assert attributes["gen_ai.request.model"] == "team"
    assert attributes["http.response.status_code"] == 200
    assert attributes["gen_ai.usage.output_tokens"] > 0


def test_errors_are_statuses_of_spans(team, kept):
    ask(team, "team")
    spans = {span.name: span for span in kept.get_finished_spans()}
    assert not spans["ask broken"].status.is_ok
    assert spans["ask broken"].status.description == "BackendError"
    assert spans["ask math"].status.is_unset
    kept.clear()
    with pytest.raises(openai.InternalServerError):
        ask(team, "broken")
    spans = {span.name: span for span in kept.get_finished_spans()}
    assert spans["POST /v1/chat/completions"].attributes["error.type"] == "502"


def test_agents_say_what_they_were_asked_and_what_it_cost(team, kept):
    ask(team, "team")
    asked = next(span for span in kept.get_finished_spans() if span.name == "ask math")
    found = dict(asked.attributes)
    assert found["gen_ai.agent.name"] == "math"
    assert (found["aiflow.node"], found["aiflow.sender"]) == ("phone", "cloud")
    assert found["gen_ai.usage.output_tokens"] == 5
    assert found["aiflow.link.phone-cloud.bytes"] > 100
    assert found["gen_ai.response.finish_reasons"] == ("stop",)


def test_streams_too(team, kept):
    pieces = ask(team, "team", stream=True)
    assert pieces
    spans = kept.get_finished_spans()
    assert ("step merge", "ask hub") in tree(spans)
    merge = next(s for s in spans if s.name == "ask hub" and "gen_ai.response.time_to_first_chunk" in s.attributes)
    assert "aiflow.cancelled" not in merge.attributes
    assert len({span.context.trace_id for span in spans}) == 1


def test_nothing_that_was_asked_answered_or_secret_is_in_a_span(team, kept):
    ask(team, "team")
    ask(team, "echo", stream=True)
    for model in ("broken", SECRET):
        with pytest.raises(openai.APIStatusError):
            ask(team, model)
    httpx.get(f"{team.root}/{SECRET}", headers={"authorization": f"Bearer {KEY}"})
    for span in kept.get_finished_spans():
        text = json.dumps(json.loads(span.to_json()))
        assert "hunter2" not in text
        assert "topsecret" not in text
        assert "84" not in json.dumps(dict(span.attributes).get("gen_ai.output.messages", ""))


def test_prompts_only_if_wanted(team):
    exporter = InMemorySpanExporter()
    tracing.start(exporter=exporter, prompts=True)
    try:
        ask(team, "echo")
    finally:
        tracing.stop()
    span = next(span for span in exporter.get_finished_spans() if span.name == "ask echo")
    assert SECRET in span.attributes["gen_ai.input.messages"]
    assert SECRET in span.attributes["gen_ai.output.messages"]


def test_who_looks_on_is_not_traced(team, kept):
    for path in ("health", "metrics", "status"):
        assert httpx.get(f"{team.root}/{path}").status_code == 200
    assert not kept.get_finished_spans()
