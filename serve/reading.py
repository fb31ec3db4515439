"""Reads the body of a request, at most so many bytes in at most so many seconds. Knows ASGI's ``receive`` only."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from aiflow.serve.refusal import Refusal

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
CLOSE = {"connection": "close"}
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 64 * 2**20


class Gone(Exception):
    """The client has gone away."""


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """A header's value; empty if it is missing."""
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


def check_type(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises Refusal (415) unless JSON is sent: web pages of strangers can send other types without being asked."""
    kind = header(headers, b"content-type").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "send the body as content-type: application/json.", code="unsupported_media_type")


async def read_body(receive: Receive, headers: Iterable[tuple[bytes, bytes]], most: int, seconds: float) -> bytes:
    """The whole body. Raises Refusal (413, 408, 400 for a wrong length), and Gone."""
    told = header(headers, b"content-length")
    declared = int(told) if told.isdecimal() and len(told) < 20 else 0
    try:
        async with asyncio.timeout(seconds):
            if declared <= most:
                pieces, size, more = [], 0, True
                while more and size <= most:
                    piece, more = await _next(receive)
                    pieces.append(piece)
                    size += len(piece)
                if size <= most:
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
                pieces.clear()
    except TimeoutError:
        message = f"the body did not arrive within {seconds:g} s."
        raise Refusal(408, message, code="request_timeout", headers=CLOSE) from None
    await _linger(receive)
    raise Refusal(413, f"the body is larger than {most} bytes.", code="request_too_large", headers=CLOSE)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message.get("body", b""), message.get("more_body", False)


async def _linger(receive: Receive) -> None:
    """Lets the rest of the body pass by for a moment: a client that still writes would miss the answer."""
    passed, more = 0, True
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while more and passed < _LINGER_BYTES:
                piece, more = await _next(receive)
                passed += len(piece)
    except TimeoutError:
        return
