"""The openai back end against a small server of our own: what is sent, what comes back, and every way to fail."""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from aiflow.agents.backends import create
from aiflow.errors import BackendError, BackendUnavailableError, CredentialError, UnknownModelError
from aiflow.types import Answer, Image, Message, Options, Usage

KEY = "sk-secret-0123456789"
PNG = Image(b"\x89PNG\r\n\x1a\n" + bytes(4))


class Server(ThreadingHTTPServer):
    """Replies ``status`` and ``body`` (bytes of a page, or chunks of a stream) and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status: int = 200
        self.body: bytes | list[Any] = []
        self.refuses_usage = False
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    @property
    def model(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1#tiny"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(request)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        status, body = self.server.status, self.server.body
        if self.server.refuses_usage and "stream_options" in request:
            status, body = 422, b'{"detail": "Unexpected fields: stream_options"}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if isinstance(body, bytes) else "text/event-stream")
        self.end_headers()
        if isinstance(body, bytes):
            self.wfile.write(body)
        else:
            for chunk in body:
                self.wfile.write(
                    b"data: " + (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) + b"\n\n"
                )

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {"role": "assistant"} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "tiny", "choices": [choice], **more}


COUNTED = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}
REPLY = [chunk(), chunk("Hel"), chunk("lo"), chunk("", "stop"), {**chunk(), **COUNTED}, b"[DONE]"]


async def ask(model: str, options: Options | None = None, **backend: Any) -> tuple[list[str], Answer]:
    client = create(model, **{"retries": 0, **backend})
    try:
        items = [item async for item in client.stream([Message("user", "Hi", (PNG,))], options or Options())]
    finally:
        await client.close()
    assert isinstance(items[-1], Answer)
    return [item.text for item in items[:-1]], items[-1]


async def test_a_streamed_answer(server: Server) -> None:
    server.body = REPLY
    options = Options(max_tokens=9, temperature=0.5, top_p=0.9, seed=3, stop=("END",))
    deltas, answer = await ask(server.model, options, extra={"top_k": 4})
    usage = Usage(requests=1, prompt_tokens=5, completion_tokens=2)
    assert (deltas, answer) == (["Hel", "lo"], Answer(text="Hello", finish="stop", usage=usage))
    assert server.asked[0] == {
        "model": "tiny",
        "messages": [Message("user", "Hi", (PNG,)).openai()],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["END"],
        "top_k": 4,
    }
    assert server.asked[0]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    await ask(server.model, tokens_field="max_completion_tokens")
    assert set(server.asked[1]) == {
        "model", "messages", "stream", "stream_options", "max_completion_tokens", "temperature"
    }  # fmt: skip


async def test_a_server_that_does_not_count(server: Server) -> None:
    server.body, server.refuses_usage = [chunk("a"), chunk("b"), chunk(None, "length")], True
    client = create(server.model)
    for _ in range(2):
        items = [item async for item in client.stream([Message("user", "Hi")], Options())]
        assert items[-1] == Answer(text="ab", finish="length", usage=Usage(requests=1, completion_tokens=2))
    assert ["stream_options" in asked for asked in server.asked] == [True, False, False]
    await client.close()


async def test_a_server_that_does_not_stop(server: Server) -> None:
    server.body = [chunk("one E"), chunk("N"), chunk("E two E"), chunk("ND three"), chunk("", "length")]
    deltas, answer = await ask(server.model, Options(stop=("END",)))
    assert (deltas, answer.text, answer.finish) == (["one ", "ENE two "], "one ENE two ", "stop")
    server.body = [chunk("one E"), chunk("", "length")]
    deltas, answer = await ask(server.model, Options(stop=("END",)))
    assert (deltas, answer.text, answer.finish) == (["one ", "E"], "one E", "length")


def likely(text: str, *top: tuple[str, float]) -> dict[str, Any]:
    made = chunk(text)
    entries = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in top]
    content = [{"token": text, "logprob": entries[0]["logprob"], "bytes": None, "top_logprobs": entries}]
    made["choices"][0]["logprobs"] = {"content": content, "refusal": None}
    return made


async def test_streamed_logprobs(server: Server) -> None:
    server.body = [chunk(), likely("m", ("M", -1.5), ("m", -0.25), ("x", float("nan"))), likely(" is", (" is", -0.0))]
    server.body += [chunk("", "stop"), {**chunk(), **COUNTED}, b"[DONE]"]
    deltas, answer = await ask(server.model, Options(top_logprobs=5))
    assert (deltas, answer.text) == (["m", " is"], "m is")
    assert answer.logprobs == ((("m", -0.25), ("M", -1.5)), ((" is", 0.0),))
    assert (server.asked[0]["logprobs"], server.asked[0]["top_logprobs"]) == (True, 5)
    _, silent = await ask(server.model)  # a server that tells what nobody asked
    assert silent == replace(answer, logprobs=())
    assert not {"logprobs", "top_logprobs"} & server.asked[1].keys()
    server.body = REPLY  # and one that does not tell
    assert (await ask(server.model, Options(top_logprobs=5)))[1].logprobs == ()


async def test_a_server_that_refuses_logprobs(server: Server) -> None:
    server.status, server.body = 400, b'{"error": {"message": "logprobs are not supported"}}'
    with pytest.raises(BackendError, match=r"refused the request \(400\): logprobs are not supported"):
        await ask(server.model, Options(top_logprobs=5))
    assert len(server.asked) == 1


FAILURES: list[tuple[int, bytes | list[Any], type[Exception], str]] = [
    (
        401,
        b'{"error": {"message": "bad key sk-secret-0123456789"}}',
        CredentialError,
        "refused the key in OPENAI_API_KEY",
    ),
    (403, b"{}", CredentialError, "OPENAI_API_KEY"),
    (404, b'{"error": {"message": "no"}}', UnknownModelError, "has no model 'tiny'; see http://127"),
    (
        400,
        b'{"error": {"message": "key\\nsk-secret-0123456789"}}',
        BackendError,
        r"refused the request \(400\): key \*\*\*",
    ),
    (429, b'{"error": {"message": "slow down"}}', BackendError, r"\(429\): slow down"),
    (500, b"<html>oops</html>", BackendUnavailableError, r"failed \(500\)"),
    (503, b'{"detail": "loading"}', BackendUnavailableError, "loading"),
    (200, b"<html>hello</html>", BackendError, "ended its reply before"),
    (200, [chunk("half")], BackendError, "ended its reply before"),
    (200, [chunk("half"), b"{not json"], BackendError, "no OpenAI reply"),
    (200, [chunk("half"), {"error": {"message": "out of memory"}}], BackendError, "out of memory"),
    (200, [{"choices": None}], BackendError, "no OpenAI reply"),
]


@pytest.mark.parametrize(("status", "body", "error", "match"), FAILURES, ids=[f[3] for f in FAILURES])
async def test_failures(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    status: int, body: Any, error: type[Exception], match: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    server.status, server.body = status, body
    with pytest.raises(error, match=match) as caught:
        await ask(server.model)
    assert "\n" not in str(caught.value)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(caught.value) + caplog.text + repr(create(server.model))


async def test_nobody_listens(server: Server) -> None:
    server.server_close()
    with pytest.raises(
        BackendUnavailableError, match=r"no connection to http://127.*; start the server or correct the URL"
    ):
        await ask(server.model)


async def test_nobody_answers(server: Server) -> None:
    waiting = threading.Event()
    server.body = Waits(waiting)
    with pytest.raises(BackendUnavailableError, match=r"gave no sign for 0\.2 s"):
        await ask(server.model, timeout=0.2)
    waiting.set()


class Waits(list[Any]):
    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def __iter__(self) -> Iterator[Any]:
        self.event.wait(5)
        return iter(REPLY)


async def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OTHER_KEY"):
        monkeypatch.delenv(name, raising=False)
    create("http://localhost:1/v1#m")
    create("http://192.168.0.7/v1#m")
    with pytest.raises(CredentialError, match=r"api\.example\.com needs a key: set .* OPENAI_API_KEY"):
        create("https://api.example.com/v1#m")
    with pytest.raises(CredentialError, match="OTHER_KEY"):
        create("http://localhost:1/v1#m", key_env="OTHER_KEY")
    monkeypatch.setenv("OTHER_KEY", "two\nlines")
    with pytest.raises(CredentialError, match="no usable key"):
        create("http://localhost:1/v1#m", key_env="OTHER_KEY")
    for url in ("https://user:pw@api.example.com/v1#m", "https://api.example.com/v1?key=1#m"):
        with pytest.raises(CredentialError, match="must hold no key") as caught:
            create(url)
        assert "pw" not in str(caught.value)
