"""A gateway that ends answers what it has begun, and tells everybody else that it is going."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
import yaml

AIFLOW = str(Path(sys.executable).parent / "aiflow")
TALK = [{"role": "user", "content": "one two three four five six seven eight nine ten"}]
BODY = {"model": "echo", "messages": TALK}


def wait(true):
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.01)


def health(root):
    return httpx.get(f"{root}/health")


def answers(root):
    try:
        return bool(health(root))
    except httpx.TransportError:
        return False


def test_what_runs_is_answered_and_nothing_new_is_taken(serve):
    with serve() as served, openai.OpenAI(base_url=served.url, api_key="x", max_retries=0) as client:
        assert health(served.root).json() == {"status": "ok"}
        stream = iter(client.chat.completions.create(model="slow", messages=TALK, stream=True))
        next(stream)
        served.server.drain()
        gone = health(served.root)
        assert (gone.status_code, gone.json(), gone.headers["connection"]) == (503, {"status": "draining"}, "close")
        refused = httpx.post(f"{served.url}/chat/completions", json=BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
        assert httpx.get(f"{served.url}/models").status_code == 503
        assert httpx.get(f"{served.root}/metrics").status_code == 200
        said = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert "".join(said) == TALK[0]["content"]
        wait(lambda: not served.server.started or served.server.should_exit)
        wait(lambda: not answers(served.root))


def test_what_takes_longer_than_the_limit_is_cut_off(serve):
    """Whoever waits for a whole answer is told so; a stream that had begun stops short."""
    many = {**BODY, "model": "slow", "stream": True, "messages": [{"role": "user", "content": "word " * 300}]}
    with serve(drain="300 ms") as served, ThreadPoolExecutor() as pool:
        url = f"{served.url}/chat/completions"
        whole = pool.submit(httpx.post, url, json={**BODY, "model": "hung"}, timeout=30)
        stream = pool.submit(httpx.post, url, json=many, timeout=30)
        wait(lambda: served.totals("hung").in_flight == served.totals("slow").in_flight == 1)
        served.server.drain()
        answer = whole.result(20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
        assert isinstance(stream.exception(20), httpx.RemoteProtocolError)
        wait(lambda: not answers(served.root))


@pytest.fixture
def process(tmp_path):
    """``aiflow serve`` with one slow agent, and its URL."""
    agents = {"slow": {"node": "here", "model": "scripted:echo", "backend": {"token_delay": 0.15}}}
    config = {"topology": {"nodes": {"here": "cloud"}}, "local": True, "agents": agents}
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(config))
    command = [AIFLOW, "serve", str(tmp_path / "gateway.yaml"), "--port", "0", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as started:
        try:
            assert started.stdout is not None
            yield started, started.stdout.readline().strip()
        finally:
            started.kill()


def test_sigterm_drains(process):
    started, url = process
    with openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
        stream = iter(client.chat.completions.create(model="slow", messages=TALK, stream=True))
        next(stream)
        started.send_signal(signal.SIGTERM)
        wait(lambda: health(url.removesuffix("/v1")).status_code == 503)
        with pytest.raises(openai.InternalServerError, match="is ending"):
            client.chat.completions.create(model="slow", messages=TALK)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == TALK[0]["content"]
    assert started.wait(20) in (0, -signal.SIGTERM)


def test_a_second_signal_ends_at_once(process):
    started, url = process
    many = [{"role": "user", "content": "word " * 200}]  # half a minute
    with openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
        stream = iter(client.chat.completions.create(model="slow", messages=many, stream=True))
        next(stream)
        started.send_signal(signal.SIGTERM)
        wait(lambda: health(url.removesuffix("/v1")).status_code == 503)
        assert started.poll() is None
        started.send_signal(signal.SIGTERM)
        with pytest.raises((openai.APIError, httpx.TransportError)):
            list(stream)
    assert started.wait(20) in (0, -signal.SIGTERM)
