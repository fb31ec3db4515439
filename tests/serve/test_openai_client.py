"""The official client, curl and langchain-openai work on the gateway unchanged."""

import base64
import io
import json
import subprocess
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

TALK: Any = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two three"}]


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0, timeout=20) as made:
        yield made


def test_models(client, served):
    names = [model.id for model in client.models.list()]
    assert names == ["team", "ranked", "pictures", "spoken", "changed", *served.cluster.agents]
    card = client.models.retrieve("echo")
    assert (card.id, card.object, card.owned_by) == ("echo", "model", "aiflow")
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert caught.value.code == "model_not_found"


def test_a_whole_answer(client):
    raw = client.chat.completions.with_raw_response.create(model="echo", messages=TALK)
    said = raw.parse()
    assert (said.choices[0].message.content, said.choices[0].finish_reason) == ("one two three", "stop")
    assert (said.object, said.model) == ("chat.completion", "echo")
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens == 8
    assert said.id == f"chatcmpl-{raw.headers['x-request-id']}"
    assert said.model_extra["aiflow"]["agents"]["echo"]["completion_tokens"] == 3


def test_options_reach_the_agent(client):
    said = client.chat.completions.create(model="echo", messages=TALK, max_completion_tokens=2).choices[0]
    assert (said.message.content, said.finish_reason) == ("one two", "length")
    assert (
        client.chat.completions.create(model="echo", messages=TALK, stop=["two"]).choices[0].message.content == "one "
    )
    raw = client.chat.completions.create(model="echo", messages=TALK, temperature=0, logprobs=True, top_logprobs=1)
    places = raw.choices[0].logprobs.content
    assert [place.token for place in places] == ["one", " two", " three"]
    assert [top.token for top in places[0].top_logprobs] == ["one"]


@pytest.mark.parametrize("usage", [False, True])
def test_a_streamed_answer(client, usage):
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(client.chat.completions.create(model="echo", messages=TALK, stream=True, **options))
    assert {(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks} == {
        (chunks[0].id, chunks[0].created, "echo", "chat.completion.chunk")
    }
    said = [chunk for chunk in chunks if chunk.choices]
    assert said[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "one two three"
    assert [chunk.choices[0].finish_reason for chunk in said] == [None] * (len(said) - 1) + ["stop"]
    assert (chunks[-1].usage is not None) == usage
    assert chunks[-1].model_extra["aiflow"]["agents"]["echo"]["requests"] == 1
    if usage:
        assert chunks[-1].usage.total_tokens == 8


async def test_the_async_client(served):
    async with openai.AsyncOpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
        whole = await client.chat.completions.create(model="echo", messages=TALK)
        stream = await client.chat.completions.create(model="echo", messages=TALK, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == whole.choices[0].message.content == "one two three"


def test_plain_completions(client):
    whole = client.completions.create(model="echo", prompt="one two")
    assert (whole.object, whole.choices[0].text, whole.choices[0].finish_reason) == (
        "text_completion",
        "one two",
        "stop",
    )
    pieces = list(client.completions.create(model="echo", prompt=["one two"], stream=True))
    assert "".join(piece.choices[0].text for piece in pieces) == "one two"


def test_pictures(client):
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    talk: Any = [
        {"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]}
    ]
    assert client.chat.completions.create(model="pictures", messages=talk).choices[0].message.content == "1 image/png"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"temperature": 3}, "temperature"),
        ({"logprobs": True, "temperature": 1}, "logprobs"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages[0].role"),
    ],
)
def test_what_cannot_be_meant_is_refused(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "echo", "messages": TALK, **fields})
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")
    assert caught.value.request_id


def test_what_is_unknown_or_means_nothing_is_passed_over(client):
    more = {"user": "me", "store": False, "n": 1, "tools": [], "presence_penalty": 0, "top_k": 5, "seed": 3}
    body = {"model": "echo", "messages": TALK, **more}
    assert client.post("/chat/completions", body=body, cast_to=httpx.Response).status_code == 200


def test_failures_of_agents(client, served):
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="broken", messages=TALK)
    assert (caught.value.status_code, caught.value.code) == (502, "agent_failed")
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="dead", messages=TALK)
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (503, "1")
    with pytest.raises(openai.InternalServerError) as caught:
        list(client.chat.completions.create(model="broken", messages=TALK, stream=True))
    assert caught.value.status_code == 502
    assert served.totals("broken").in_flight == 0


def test_a_hung_agent_costs_the_deadline(client, served):
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="hung", messages=TALK, stream=stream)
        assert (caught.value.status_code, caught.value.response.headers["x-should-retry"]) == (504, "false")
    assert served.totals("hung").in_flight == 0


def test_an_error_in_the_middle_of_a_stream(client):
    with pytest.raises(openai.APIError, match="replaced"):
        list(client.chat.completions.create(model="changed", messages=TALK, stream=True))


def test_curl(served):
    body = json.dumps({"model": "echo", "messages": TALK})
    command = ["curl", "-sS", "--max-time", "20", f"{served.url}/chat/completions", "-d", body]
    try:
        done = subprocess.run([*command, "-H", "Content-Type: application/json"], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("curl is not installed")
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "one two three"
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["error"]["code"] == (
        "unsupported_media_type"
    )


def test_langchain(served):
    langchain_openai = pytest.importorskip("langchain_openai")
    model = langchain_openai.ChatOpenAI(model="echo", base_url=served.url, api_key="none")
    assert model.invoke("one two").content == "one two"
    assert "".join(piece.content for piece in model.stream("one two")) == "one two"
