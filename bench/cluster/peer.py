"""One end of a transfer, run on a node: ``peer.py receive ADDRESS``, ``relay ADDRESS NEXT``, or ``send NEXT``.

A sender reads "SIZE [cold]" lines, and sends so many bytes over its one connection, or over a new one. A receiver
prints the seconds from a message's first byte leaving to its last byte arriving: all namespaces have the same clock.
A relay has a message whole before it sends it on.
"""

import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator

PORT = 5001
_HEAD = struct.Struct("<QdQ")  # bytes that follow, when the message left its first sender (s), whether it is the last


def main(role: str, *addresses: str) -> None:
    """Runs until the other end is gone or there are no more lines."""
    with contextlib.suppress(PermissionError):  # what is measured is the link, not what else the machine does
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    if role == "send":
        _send(addresses[0])
        return
    onward = None
    with socket.create_server((addresses[0], PORT)) as server:
        print("ready", flush=True)
        while True:
            with server.accept()[0] as connection:
                for size, left, last in _messages(connection):
                    if role == "receive":
                        print(time.monotonic() - left, flush=True)
                    else:
                        onward = onward or _connect(addresses[1])
                        onward.sendall(_HEAD.pack(size, left, last) + bytes(size))
                    if last:
                        return


def _send(address: str) -> None:
    warm = _connect(address)
    for line in sys.stdin:
        size, cold = int(line.split()[0]), "cold" in line
        if cold:  # the receiver serves one connection after the other
            warm.close()
            warm = _connect(address)
        warm.sendall(_HEAD.pack(size, time.monotonic(), 0) + bytes(size))
    warm.sendall(_HEAD.pack(0, time.monotonic(), 1))
    warm.close()


def _messages(connection: socket.socket) -> Iterator[tuple[int, float, bool]]:
    view = memoryview(bytearray(1 << 20))
    while len(head := connection.recv(_HEAD.size, socket.MSG_WAITALL)) == _HEAD.size:
        size, left, last = _HEAD.unpack(head)
        rest = size
        while rest:
            rest -= connection.recv_into(view, min(rest, len(view)))
        yield size, left, bool(last)


def _connect(address: str) -> socket.socket:
    connection = socket.create_connection((address, PORT), timeout=30)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


if __name__ == "__main__":
    main(*sys.argv[1:])
