"""Requests that nobody means, made from a seed: bodies, numbers, paths, methods, keys, headers, sizes."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from aiflow.bench.gateway.client import PATH, post

PLAIN = "/v1/completions"
SECRET = "correct-horse-battery-staple"
"""Stands in every prompt; it must come back in no answer and stand in no log."""

_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    10**400,
    0.5,
    -0.0,
    1e308,
    "",
    " ",
    "\u0000",
    "\u202e",
    "a" * 5000,
    "😀",
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"type": "text"},
    {"$ref": "#"},
    ["a", 1, {}],
    "NaN",
    "../../etc/passwd",
    "${jndi:x}",
)
_FIELDS = (
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "n",
    "stream",
    "tools",
    "stream_options",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "response_format",
    "user",
    "prompt",
    "echo",
    "best_of",
    "suffix",
)
_PATHS = (
    "/",
    "//",
    "/v1",
    "/v1/",
    "/v1//models",
    "/v1/models/",
    "/v1/models/zero/",
    "/v1/models/..",
    "/v1/models/%2e%2e%2f",
    "/%00",
    "/v1/models/%ff%fe",
    "/v1/chat/completions/",
    "/v1/chat/completions?x=" + "y" * 4000,
    "/../../etc/passwd",
    "/.env",
    "/docs",
    "/v1/models/" + "z" * 9000,
    "/metrics/../health",
    "/openapi.json/",
    "/V1/MODELS",
    "/v1/models;x",
    "/health%0d%0aset-cookie:x",
)
_METHODS = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "post")
_HEADERS = (
    "transfer-encoding: chunked\r\n",
    "content-length: 5\r\n",
    "content-type: text/plain\r\n",
    "expect: 100-continue\r\n",
    "upgrade: websocket\r\nconnection: upgrade\r\n",
    "x: " + "y" * 9000 + "\r\n",
    "content-encoding: gzip\r\n",
    "host: evil\r\n",
    "x-request-id: ../../a\r\n",
    "accept: \xff\xfe\r\n",
    "authorization: Basic eA==\r\n",
    "content-type: application/json\r\n",
)


def good(chance: random.Random) -> dict[str, Any]:
    """A request that can be meant."""
    talk: list[Any] = [
        {"role": "system", "content": SECRET},
        {"role": "user", "content": f"{SECRET} {chance.random()}"},
    ]
    if chance.random() < 0.3:
        parts = [{"type": "text", "text": SECRET}, {"type": "image_url", "image_url": {"url": _url(chance)}}]
        talk.append({"role": "user", "content": parts})
    return {"model": "zero", "messages": talk, "prompt": SECRET, "max_tokens": chance.randint(1, 64)}


def _url(chance: random.Random) -> str:
    odd = (
        "data:image/png;base64,iVBORw0KGgo=",
        "http://127.0.0.1:1/x.png",
        "file:///etc/passwd",
        "data:,x",
        "data:image/png;base64,%%",
    )
    return chance.choice(odd)


def _field(chance: random.Random, key: str) -> bytes:
    body = good(chance)
    for _ in range(chance.randint(1, 3)):
        body[chance.choice(_FIELDS)] = chance.choice(_ODD)
    return post(json.dumps(body).encode(), key=key, path=chance.choice((PATH, PLAIN)))


def _part(chance: random.Random, key: str) -> bytes:
    body = good(chance)
    turn: Any = chance.choice(body["messages"])
    turn[chance.choice(("role", "content", "name", "tool_calls"))] = chance.choice(_ODD)
    return post(json.dumps(body).encode(), key=key)


def _bytes(chance: random.Random, key: str) -> bytes:
    raw = bytearray(json.dumps(good(chance)).encode())
    for _ in range(chance.randint(1, 8)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    return post(bytes(raw[: chance.randint(1, len(raw))] if chance.random() < 0.3 else raw), key=key)


def _number(chance: random.Random, key: str) -> bytes:
    literals = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "0x10", "01", "1.", "-", "1e-400", "--1", "1e5")
    text = json.dumps(good(chance))[:-1] + f', "{chance.choice(_FIELDS)}": {chance.choice(literals)}}}'
    return post(text.encode(), key=key)


def _deep(chance: random.Random, key: str) -> bytes:
    depth = chance.choice((50, 150, 300, 5000, 100_000))
    inner = chance.choice(
        ("[" * depth, '{"a":' * depth, "[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth)
    )
    return post((json.dumps(good(chance))[:-1] + f', "{chance.choice(_FIELDS)}": {inner}}}').encode(), key=key)


def _path(chance: random.Random, key: str) -> bytes:
    method = chance.choice(("GET", "POST"))
    return post(b"{}" if method == "POST" else b"", path=chance.choice(_PATHS), method=method, key=key)


def _method(chance: random.Random, key: str) -> bytes:
    path = chance.choice((PATH, PLAIN, "/v1/models", "/v1/models/zero", "/health", "/metrics", "*"))
    return post(json.dumps(good(chance)).encode(), path=path, method=chance.choice(_METHODS), key=key)


def _key(chance: random.Random, key: str) -> bytes:
    parts = key.split("-", 2)
    wrong = (
        key[:-1],
        key + "a",
        key.upper(),
        "-".join(parts[:2]) + "-",
        f"{parts[0]}-{parts[1]}-{'a' * 43}",
        "x" * 9000,
        "\xff",
    )
    return post(json.dumps(good(chance)).encode(), key=chance.choice(wrong), path=chance.choice((PATH, "/v1/models")))


def _header(chance: random.Random, key: str) -> bytes:
    return post(json.dumps(good(chance)).encode(), key=key, more=chance.choice(_HEADERS))


def _large(chance: random.Random, key: str) -> bytes:
    return post(b'{"model": "' + b"a" * chance.randint(100_001, 300_000) + b'"}', key=key)


KINDS: dict[str, tuple[Callable[[random.Random, str], bytes], int]] = {
    "wrong fields": (_field, 25),
    "wrong messages": (_part, 15),
    "broken bytes": (_bytes, 20),
    "odd numbers": (_number, 8),
    "deep": (_deep, 4),
    "paths": (_path, 8),
    "methods": (_method, 6),
    "keys": (_key, 6),
    "headers": (_header, 6),
    "oversized": (_large, 2),
}
"""Each kind's maker, and its share in percent."""


def requests(count: int, key: str, seed: int) -> Iterator[tuple[str, bytes]]:
    """``count`` requests as (kind, bytes); the same for the same seed and key."""
    chance = random.Random(seed)
    names, weights = list(KINDS), [share for _, share in KINDS.values()]
    for name in chance.choices(names, weights, k=count):
        yield name, KINDS[name][0](chance, key)
