"""A link in user space: carries packets between two TUN devices with a rate, delay, jitter, loss and a queue limit.

Started by path, one process for each link, so it imports nothing but the standard library::

    python shaper.py SETTINGS.json NAMESPACE_A NAMESPACE_B DEVICE

It prints "ready" once and reads the settings anew at SIGHUP; it ends when the file is gone. Settings of a direction
("up" is from A to B): points [[seconds, IP bytes/s], ...] and period of the rate (counted from the start), delay and
jitter (s), loss [0, 1), limit (bytes that may wait), up (False: nothing passes). What packets say is not known here.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import random
import select
import signal
import struct
import sys
import time
from bisect import bisect_right
from collections import deque
from typing import Any

MTU = 1500
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_BATCH = 64  # packets read from one end before the other has its turn
_IDLE = 2.0  # seconds between looks at whether the cluster is still wanted


class Direction:
    """One way of the link: packets wait to be serialised at the rate, then fly for the delay, and stay in order."""

    def __init__(self, source: int, target: int, origin: float) -> None:
        self.source, self.target, self._origin = source, target, origin
        self._waiting: deque[bytes] = deque()
        self._flying: deque[tuple[float, bytes]] = deque()
        self._bytes = 0  # that wait
        self._free = self._last = self._drawn = origin
        self._late = 0.0
        self.carried = self.dropped = 0

    def set(self, options: dict[str, Any]) -> None:
        """Takes new options; packets that wait meet the new rate, and a link that goes down loses them."""
        self._starts: list[float] = [point[0] for point in options["points"]]
        self._rates: list[float] = [point[1] for point in options["points"]]
        self._period: float | None = options["period"]
        self._delay: float = options["delay"]
        self._jitter: float = options["jitter"]
        self._loss: float = options["loss"]
        self._limit: int = options["limit"]
        self._up: bool = options["up"]
        if not self._up:
            self.dropped += len(self._waiting) + len(self._flying)
            self._waiting.clear()
            self._flying.clear()
            self._bytes = 0

    def take(self, packet: bytes, now: float) -> None:
        """Queues a packet, or drops it if the link is down or the queue is full."""
        if not self._up or self._bytes + len(packet) > self._limit:
            self.dropped += 1
            return
        if not self._waiting:
            self._free = max(self._free, now)
        self._waiting.append(packet)
        self._bytes += len(packet)

    def advance(self, now: float) -> float:
        """Does what is due, and says when there is more to do (s; infinite if nothing is under way)."""
        while self._waiting and (finish := self._finish(len(self._waiting[0]))) <= now:
            packet = self._waiting.popleft()
            self._bytes -= len(packet)
            self._free = finish
            if random.random() < self._loss:
                self.dropped += 1
                continue
            self._last = max(self._last, finish + self._delay + self._lateness(finish))
            self._flying.append((self._last, packet))
        while self._flying and self._flying[0][0] <= now:
            self.carried += len(self._flying[0][1])
            try:
                os.write(self.target, self._flying.popleft()[1])
            except OSError:  # the device is down, or its queue is full: as a network would, drop it
                self.dropped += 1
        ahead = self._flying[0][0] if self._flying else float("inf")
        return min(ahead, self._finish(len(self._waiting[0]))) if self._waiting else ahead

    def _lateness(self, moment: float) -> float:
        # One draw holds for as long as the jitter spans: drawn per packet, each would only wait for the latest of many.
        if self._jitter and moment - self._drawn >= self._jitter:
            self._drawn, self._late = moment, random.uniform(0, self._jitter)
        return self._late if self._jitter else 0.0

    def _finish(self, size: int) -> float:
        elapsed = self._free - self._origin
        within = elapsed % self._period if self._period else elapsed
        index = bisect_right(self._starts, within) - 1
        if self._rates[index]:
            return self._free + size / self._rates[index]
        last = index + 1 == len(self._starts)
        end = (self._period or within) if last else self._starts[index + 1]  # an outage ends
        self._free += max(end - within, 1e-6)
        return self._finish(size)


def tun(namespace: str, device: str) -> int:
    """A non-blocking descriptor of a namespace's TUN device. Raises OSError."""
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns {namespace}: {os.strerror(ctypes.get_errno())}")
    os.close(descriptor)
    opened = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(opened, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    return opened


def main(file: str, a: str, b: str, device: str) -> None:
    """Carries packets until the settings file is gone."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    first, second = tun(a, device), tun(b, device)
    with contextlib.suppress(PermissionError):  # little to do, but on time, on however busy a machine
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    ctypes.CDLL(None).setns(home, _CLONE_NEWNET)  # whoever ends all processes of a node leaves its links alone
    origin = time.monotonic()
    ways = {"up": Direction(first, second, origin), "down": Direction(second, first, origin)}
    wake, woken = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGHUP, lambda *_: None)
    _settle(file, ways)
    print("ready", flush=True)
    while os.path.exists(file):
        until = time.monotonic() + _IDLE
        while (now := time.monotonic()) < until:
            due = min(way.advance(now) for way in ways.values())
            ready = select.select([first, second, wake], [], [], max(0.0, min(due, until) - time.monotonic()))[0]
            for way in ways.values():
                if way.source in ready:
                    _read(way)
            if wake in ready:
                os.read(wake, 4096)
                _settle(file, ways)


def _read(way: Direction) -> None:
    now = time.monotonic()
    for _ in range(_BATCH):
        try:
            way.take(os.read(way.source, 65536), now)
        except BlockingIOError:
            return


def _settle(file: str, ways: dict[str, Direction]) -> None:
    try:
        with open(file, encoding="utf-8") as text:
            settings = json.load(text)
    except FileNotFoundError:
        return
    for name, way in ways.items():
        way.set(settings[name])


if __name__ == "__main__":
    main(*sys.argv[1:])
