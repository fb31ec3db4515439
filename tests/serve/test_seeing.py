"""What the log, the metrics and the documentation say, and what they must not."""

import json
import logging

import httpx
import openai
import pytest

SECRET = "hunter2 swordfish"
TALK = [{"role": "user", "content": SECRET}]


def ask_everything(served):
    with openai.OpenAI(base_url=served.url, api_key="sk-topsecret", max_retries=0) as client:
        client.chat.completions.create(model="echo", messages=TALK)
        list(client.chat.completions.create(model="echo", messages=TALK, stream=True))
        client.completions.create(model="echo", prompt=SECRET)
        for model in ("broken", "dead", SECRET):
            with pytest.raises(openai.APIStatusError) as caught:
                client.chat.completions.create(model=model, messages=TALK)
            yield str(caught.value)


@pytest.mark.parametrize("wanted", [False, True])
def test_prompts_are_in_the_log_only_if_wanted(serve, caplog, wanted):
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "openai"):  # the client's own
        logging.getLogger(name).setLevel(logging.WARNING)
    with serve(log_prompts=wanted) as served:
        errors = " ".join(ask_everything(served))
        metrics = httpx.get(f"{served.root}/metrics").text
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith(("aiflow", "uvicorn")))
    assert "model=echo key=- status=200" in ours
    assert "error=" in ours
    for text in (ours, errors):
        assert ("hunter2" in text) == wanted
    assert "hunter2" not in metrics
    assert "topsecret" not in ours + metrics + errors


def test_metrics(serve):
    with serve() as served:
        with openai.OpenAI(base_url=served.url, api_key="x", max_retries=0) as client:
            client.chat.completions.create(model="echo", messages=TALK)
        httpx.get(f"{served.root}/nowhere/{SECRET}")
        answer = httpx.get(f"{served.root}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    assert 'aiflow_requests_total{model="echo",route="chat",status="200"} 1.0' in lines
    assert 'aiflow_requests_total{model="-",route="-",status="404"} 1.0' in lines
    assert 'aiflow_agent_tokens_total{agent="echo",kind="completion"} 2.0' in lines
    assert "aiflow_requests_running 1.0" in lines  # this one


def test_the_documentation_names_every_path_and_its_errors(served):
    document = httpx.get(f"{served.root}/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/models",
        "/v1/models/{model}",
        "/v1/chat/completions",
        "/v1/completions",
        "/health",
        "/metrics",
        "/status",
    }
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert {"200", "400", "404", "408", "413", "415", "429", "502", "503", "504"} <= set(chat["responses"])
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in document["components"]["schemas"]
