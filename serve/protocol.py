"""HTTP/1.1 connections that must come to the point: uvicorn's protocol with a deadline for receiving a request.

uvicorn itself waits without end for the rest of a request's headers, refuses bad ones in plain text, and sends the
headers and the body of an answer apart.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from aiflow.serve.refusal import Refusal

_UNDERWAY = (h11.IDLE, h11.SEND_BODY)
_GRACE = 0.5  # seconds, in which the application itself can say that the body is late


def protocol(receive: float, most: int) -> type[H11Protocol]:
    """The protocol's class: ``receive`` seconds for headers and body, at ``most`` so many connections at once."""
    return type("Impatient", (_Impatient,), {"receive_seconds": receive + _GRACE, "most": most})


class _Gathered:
    """A transport that sends what one turn of the loop writes in one piece: headers and body wake the client once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._pieces: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Sends soon."""
        if not data:
            return
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def close(self) -> None:
        """Sends what is left, then closes."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._transport.write(data)


class _Impatient(H11Protocol):
    receive_seconds: float
    most: int
    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_Gathered(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > self.most:
            transport.abort()
            return
        self._alarm = self.loop.call_later(self.receive_seconds, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state not in _UNDERWAY:
            self._calm()
        elif self._alarm is None:
            self._alarm = self.loop.call_later(self.receive_seconds, self._late)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuses what is no HTTP, in the form of all other errors."""
        self._refuse(Refusal(400, "this is no HTTP request that can be read.", code="invalid_http"))

    def _calm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _late(self) -> None:
        self._alarm = None
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering or self.conn.our_state is not h11.IDLE:
            self.transport.close()
        else:
            self._refuse(Refusal(408, "the request did not arrive in time.", code="request_timeout"))

    def _refuse(self, refusal: Refusal) -> None:
        body = refusal.body
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        try:
            for event in (
                h11.Response(status_code=refusal.status, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # an answer was under way already
            pass
        self.transport.close()
