"""Whoever sends nonsense, too much, too slowly or too deep gets an error in OpenAI's form, and nobody else suffers."""

import asyncio
import base64
import contextlib
import io
import json
import socket
import struct
import zlib
from pathlib import Path

import httpx
import pytest
from PIL import Image

TALK = [{"role": "user", "content": "one two"}]
GOOD = json.dumps({"model": "echo", "messages": TALK}).encode()
JSON = {"content-type": "application/json"}


def refused(answer):
    """The error of an answer, whose form is checked."""
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == 24
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return answer.status_code, body["error"]["code"]


def post(served, content, headers=JSON, path="/chat/completions"):
    return httpx.post(served.url + path, content=content, headers=headers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"model": "\xff"}',
        b'{"model": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"model": "echo", "temperature": NaN, "messages": []}',
        b'{"model": "echo", "temperature": 1e999, "messages": []}',
        b'{"model": "echo", "seed": ' + b"9" * 10_000 + b"}",
        b"null",
        b"[]",
        b'"echo"',
        b'{"model": ["echo"], "messages": [{"role": "user", "content": "a"}]}',
        b'{"model": "echo", "messages": {"role": "user"}}',
        b'{"model": "echo", "messages": [{"role": "user", "content": {"type": "text"}}]}',
        b'{"model": "echo", "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}',
        b'{"model": "echo", "messages": [{"role": "user", "content": "a"}], "max_tokens": -1}',
        b'{"model": "echo", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1.5}',
        b'{"model": "echo", "messages": [{"role": "user", "content": "a"}], "stream": "yes"}',
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_bodies_that_mean_nothing(served, body):
    for path in ("/chat/completions", "/completions"):
        status, code = refused(post(served, body, path=path))
        assert (status, code) in {(400, "invalid_json"), (400, "invalid_value"), (400, "empty_message")}


def test_errors_do_not_repeat_what_was_sent(served):
    body = {"model": "SECRET", "messages": [{"role": "SECRET", "content": ["SECRET"]}], "stop": {"SECRET": 1}}
    for sent in (body, {**body, "messages": TALK}, {"model": "SECRET", "messages": TALK}):
        assert "SECRET" not in post(served, json.dumps(sent).encode()).text


def test_paths_and_methods(served):
    for path in (
        "/",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/models/",
        "/v1/models/../../etc/passwd",
        "/%2e%2e/",
        "/v1/models/%00",
    ):
        assert refused(httpx.get(served.root + path))[0] == 404
    for method, path in (
        ("GET", "/v1/chat/completions"),
        ("PUT", "/v1/models"),
        ("DELETE", "/health"),
        ("BREW", "/metrics"),
    ):
        answer = httpx.request(method, served.root + path)
        assert refused(answer) == (405, "method_not_allowed")
        assert answer.headers["allow"]
    assert httpx.options(f"{served.url}/models").status_code == 405
    assert httpx.head(f"{served.root}/health").status_code in (200, 405)


def test_only_json_and_only_by_its_own_name(served):
    assert refused(post(served, GOOD, {"content-type": "text/plain"})) == (415, "unsupported_media_type")
    assert post(served, GOOD, {"content-type": "application/json; charset=utf-8"}).status_code == 200
    assert refused(post(served, GOOD, {**JSON, "host": "evil.example"})) == (403, "unknown_host")
    assert post(served, GOOD, {**JSON, "host": "localhost:99"}).status_code == 200


def test_bodies_that_are_too_large(serve):
    with serve(limits={"body": 1000}) as served:
        told = post(served, b" " * 1001)
        assert refused(told) == (413, "request_too_large")
        untold = post(served, (b" " * 100 for _ in range(50)))  # without a length: counted as it comes
        assert refused(untold) == (413, "request_too_large")
        lied = raw(
            served,
            b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 99999999999999\r\n\r\n{}",
        )
        assert lied.startswith(b"HTTP/1.1 413 ")
        assert post(served, GOOD).status_code == 200


def raw(served, data):
    """Sends bytes as they are; all that comes back until the gateway closes."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as line:
        line.sendall(data)
        pieces = []
        with contextlib.suppress(ConnectionResetError):  # it closed without reading all that was sent
            while piece := line.recv(65536):
                pieces.append(piece)
        return b"".join(pieces)


def test_whoever_is_slow_is_let_go(serve):
    head = (
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n"
    )
    with serve(limits={"receive": "200 ms", "idle": "1 s"}) as served:
        assert raw(served, head + b"\r\n{").startswith(b"HTTP/1.1 408 ")  # half a body
        assert raw(served, head).startswith(b"HTTP/1.1 408 ")  # half the headers
        assert raw(served, b"").startswith(b"HTTP/1.1 408 ")  # nothing
        whole = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
        assert raw(served, whole).startswith(b"HTTP/1.1 200 ")  # and then nothing: closed when idle
        assert raw(served, whole + b"GET /heal").count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"G\0T / HTTP/1.1\r\n\r\n",
        b"a" * 200_000,
        b"GET /" + b"a" * 200_000,
    ],
)
def test_what_is_no_http(served, data):
    answer = raw(served, data + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 4") or (len(data) > 100_000 and not answer)
    if answer.startswith(b"HTTP/1.1 400 "):
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"
    assert post(served, GOOD).status_code == 200


def picture(kind="PNG", size=(2, 2)):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, kind)
    return file.getvalue()


def bomb():
    """A PNG whose header promises 2 gigapixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + b"\0\0\0\x20IDAT"
    )


def shown(*urls):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return json.dumps({"model": "pictures", "messages": [{"role": "user", "content": parts}]}).encode()


def data_url(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def test_pictures(serve):
    limits = {"images": 2, "image_bytes": 2000, "image_pixels": 10_000}
    graphs = {"pictures": {"build": f"{Path(__file__).with_name('own_graphs.py')}:pictures"}}
    with serve(graphs=graphs, limits=limits) as served:
        good = [data_url(picture(kind)) for kind in ("PNG", "JPEG")]
        said = post(served, shown(*good))
        assert said.json()["choices"][0]["message"]["content"] == "2 image/png image/jpeg"
        for urls, code in (
            (["https://127.0.0.1/cat.png"], "invalid_image_url"),
            (["file:///etc/passwd"], "invalid_image_url"),
            (["data:text/html;base64,AAAA"], "invalid_image_url"),
            (["data:image/png;base64,%%%"], "invalid_image_url"),
            (["data:image/png;base64,\ud884\uddda"], "invalid_image_url"),
            (["data:image/png;base64,AAAAA"], "invalid_image"),
            ([data_url(b"GIF8 nothing")], "invalid_image"),
            ([data_url(b"<svg/>", "image/svg+xml")], "invalid_image_url"),
            ([data_url(picture()[:30])], "invalid_image"),
            ([data_url(bomb())], "image_too_large"),
            ([data_url(picture(size=(101, 100)))], "image_too_large"),
            ([data_url(picture() + b"0" * 2000)], "image_too_large"),
            ([good[0]] * 3, "too_many"),
        ):
            assert refused(post(served, shown(*urls))) == (400, code)


async def test_a_client_that_goes_away_ends_the_generation(served):
    for stream in (False, True):
        done = served.totals("slow")
        body = json.dumps({"model": "slow", "stream": stream, "messages": [{"role": "user", "content": "a " * 300}]})
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"{head}content-type: application/json\r\n\r\n{body}".encode())
        if stream:
            await reader.readuntil(b"data: ")
        else:
            async with asyncio.timeout(10):
                while served.totals("slow").in_flight == 0:
                    await asyncio.sleep(0.02)
        writer.close()
        async with asyncio.timeout(10):
            while (now := served.totals("slow")).in_flight or now.asked == done.asked:
                await asyncio.sleep(0.02)
        assert now.cancelled == done.cancelled + 1
