"""The server that benchmarks are tested against: it answers as its agents do, counts truly, and ends when it should."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiflow.agents import backends
from aiflow.agents.interface import Backend
from aiflow.bench.serving import Asked, asked, repeated, serving
from aiflow.types import Answer, Message, Options

QUESTION = "Write a program that prints 3."
TALK = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving") / "requests.jsonl"


@pytest.fixture(scope="module")
def url(log: Path) -> Iterator[str]:
    with serving(log, models=["aiflow:nano/base", "echo=scripted:echo"], delay=0.05) as url:
        yield url


async def ask(model: str | Backend, question: str = QUESTION, **options: Any) -> Answer:
    backend = backends.create(model) if isinstance(model, str) else model
    items = [item async for item in backend.stream([Message("user", question)], Options(**options))]
    if isinstance(model, str):
        await backend.close()
    assert isinstance(items[-1], Answer)
    return items[-1]


def settled(log: Path, since: int) -> list[Asked]:
    """The requests after the first ``since``, once all have ended."""
    for _ in range(200):
        if all(request.status is not None for request in asked(log)[since:]):
            break
        time.sleep(0.02)
    return asked(log)[since:]


async def test_it_answers_as_its_models_do(url: str) -> None:
    local = backends.create("aiflow:nano/base")
    for options in ({"max_tokens": 12, "top_logprobs": 5}, {"max_tokens": 3}, {"temperature": 1.0, "seed": 3}):
        there, here = await ask(f"{url}#nano/base", **options), await ask(local, **options)
        assert (there.text, there.finish) == (here.text, here.finish)
        assert there.usage.completion_tokens == here.usage.completion_tokens
        assert [[text for text, _ in place] for place in there.logprobs] == [
            [text for text, _ in place] for place in here.logprobs
        ]
        assert [p for place in there.logprobs for _, p in place] == pytest.approx(
            [p for place in here.logprobs for _, p in place], abs=1e-4
        )
    await local.close()


def test_whole_and_streamed_agree(url: str) -> None:
    body = {
        "model": "nano/base",
        "messages": TALK,
        "max_tokens": 3,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
    }
    whole = httpx.post(f"{url}/chat/completions", json=body).json()
    stream = httpx.post(
        f"{url}/chat/completions", json={**body, "stream": True, "stream_options": {"include_usage": True}}
    )
    *lines, done = [line.removeprefix("data: ") for line in stream.text.split("\n\n") if line]
    *chunks, counted = map(json.loads, lines)
    assert done == "[DONE]"
    (choice,) = whole["choices"]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == choice["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == choice["finish_reason"] == "length"
    assert chunks[-1]["choices"][0]["logprobs"] == choice["logprobs"]
    assert [len(token["top_logprobs"]) for token in choice["logprobs"]["content"]] == [2] * 3
    assert counted["usage"] == whole["usage"] == {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    assert [m["id"] for m in httpx.get(f"{url}/models").json()["data"]] == ["nano/base", "echo"]


async def test_every_request_is_counted_once(url: str, log: Path) -> None:
    before, started = len(asked(log)), time.time()
    await asyncio.gather(*(ask(f"{url}#echo", f"question {i}") for i in range(30)))
    requests = settled(log, before)
    assert len(requests) == len({request.sha for request in requests}) == 30
    assert all(r.completed and r.status == 200 and started <= r.at <= time.time() for r in requests)
    assert {r.model for r in requests} == {"echo"}
    assert repeated(requests) == []
    await ask(f"{url}#echo", "question 7")
    await ask(f"{url}#echo", "question 7", max_tokens=9)
    again = settled(log, before)
    assert repeated(again) == [again[30].sha]
    assert again[31].sha not in {request.sha for request in again[:31]}


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_is_not_answered(url: str, log: Path, stream: bool) -> None:
    before = len(asked(log))
    body = json.dumps({"model": "nano/base", "messages": TALK, "stream": stream}).encode()
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        while len(asked(log)) == before:
            time.sleep(0.005)
    (request,) = settled(log, before)
    assert (request.completed, request.status) == (False, 499)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "gpt-9"}, 404, "no model 'gpt-9'"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "question is empty"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "role 'robot' is unknown"),
        ({"n": 2}, 400, "less than or equal to 1"),
        ({"top_logprobs": 3}, 400, "needs logprobs"),
        ({"logprobs": True, "top_logprobs": 30}, 400, "an int of 0..20"),
        ({"max_tokens": "many"}, 400, "max_tokens"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_asked(
    url: str, log: Path, change: dict[str, Any], status: int, words: str, stream: bool
) -> None:
    before = len(asked(log))
    body = {"model": "nano/base", "messages": TALK, "stream": stream, **change}
    reply = httpx.post(f"{url}/chat/completions", json=body)
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]
    assert [(r.status, r.completed) for r in settled(log, before)] == [(status, False)]


def test_what_is_no_json(url: str) -> None:
    assert httpx.post(f"{url}/chat/completions", content=b"{no").status_code == 400
    assert httpx.post(f"{url}/chat/completions", json=["hi"]).status_code == 400


def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nano/moths"), serving(tmp_path / "log", models=["aiflow:nano/moths"]):
        pass


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aiflow.bench.serving", "--log", str(tmp_path / "log"), "--parent"]
    code = (
        "import os, subprocess, time\n"
        f"made = subprocess.Popen([*{command!r}, str(os.getpid())], stdout=subprocess.DEVNULL)\n"
        "print(made.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert runs(child)
        parent.send_signal(signal.SIGKILL)
    for _ in range(250):
        if not runs(child):
            break
        time.sleep(0.02)
    assert not runs(child)


def runs(process: int) -> bool:
    """Whether it is there and no zombie that nobody has buried yet."""
    try:
        os.kill(process, 0)
        stat = Path(f"/proc/{process}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
