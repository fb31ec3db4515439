"""A small HTTP/1.1 client on asyncio for load: one connection, one request at a time, little time of its own."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

PATH = "/v1/chat/completions"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A status (0: the connection ended without one), the header lines in lower case, and the body."""

    status: int
    head: str
    body: bytes


class Line:
    """A connection that is opened when needed and kept."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._pair: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @classmethod
    def to(cls, url: str) -> Self:
        """From a URL such as ``http://127.0.0.1:4711/v1``."""
        parts = urlsplit(url)
        return cls(str(parts.hostname), int(parts.port or 80))

    async def send(self, raw: bytes, seconds: float = 30.0) -> Reply:
        """Sends a whole request, brings the reply. Raises TimeoutError; a closed connection is status 0."""
        async with asyncio.timeout(seconds):
            reader, writer = await self._open()
            try:
                writer.write(raw)
                reply = await _read(reader)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                reply = Reply(status=0, head="", body=b"")
        if reply.status == 0 or "connection: close" in reply.head:
            self.close()
        return reply

    async def drip(self, piece: bytes, *, every: float, until: "asyncio.Future[Any]") -> None:
        """Writes ``piece`` again and again, ``every`` so many seconds, until something has happened."""
        while not until.done():
            await asyncio.wait({until}, timeout=every)
            if self._pair is not None and not self._pair[1].is_closing():
                self._pair[1].write(piece)

    def close(self) -> None:
        """Ends the connection; the next request opens another."""
        if self._pair is not None:
            self._pair[1].close()
            self._pair = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._pair is None or self._pair[1].is_closing() or self._pair[0].at_eof():
            self.close()
            self._pair = await asyncio.open_connection(self._host, self._port, limit=2**24)
        return self._pair


async def _read(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    if status == 100:
        return await _read(reader)
    at = head.find("content-length:")
    if at >= 0:
        body = await reader.readexactly(int(head[at + 15 : head.index("\r\n", at)]))
    elif "transfer-encoding: chunked" in head:
        body = await _chunks(reader)
    else:
        body = await reader.read() if status != 204 else b""
    return Reply(status=status, head=head, body=body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(pieces)


def post(body: bytes, *, path: str = PATH, method: str = "POST", key: str = "", more: str = "") -> bytes:
    """The bytes of a request with a JSON body; ``more``: further header lines, each ended by CR LF."""
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{authorization}{more}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body


def question(model: str, text: str, **fields: Any) -> bytes:
    """The body of a chat request."""
    talk = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": text}]
    return json.dumps({"model": model, "messages": talk, **fields}).encode()
