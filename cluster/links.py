"""A link that behaves like a network: a queue, a rate that may vary, propagation, jitter, loss. Arithmetic on a clock.

``reserve`` says when a message would arrive; waiting is the caller's part (see ``network``). Nothing is sent here.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from aiflow.clock import Clock
from aiflow.cluster.topology import Rates
from aiflow.cluster.traces import Trace

PACKET = 1500
"""Bytes of a packet, the unit of loss."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What went over a link in one direction: messages, their bytes, and the bytes sent again because of loss."""

    messages: int = 0
    bytes: int = 0
    resent: int = 0


class EmulatedLink:
    """Two directions, each a FIFO queue that concurrent transfers share; ``up`` is from the first end to the second.

    ``rate`` is whatever ``Rates.of`` reads; ``rtt`` and ``jitter`` in seconds; ``loss`` in [0, 1) per packet.

    - A message is serialised when the queue is free, at the rate of the moment; only this occupies the link.
    - It then propagates for ``rtt / 2`` plus a delay uniform in [0, ``jitter``], and never overtakes the one before it.
    - Each of its 1500-byte packets is lost with probability ``loss``. Lost packets are sent again, until none is lost:
      every round adds their bytes to the serialisation and one ``rtt`` to the arrival.

    The same seed and the same calls give the same arrivals.
    """

    def __init__(
        self, rate: Any, rtt: float = 0.0, jitter: float = 0.0, loss: float = 0.0, *, clock: Clock, seed: Any = 0
    ) -> None:
        rates = Rates.of(rate)
        if not (rtt >= 0 and jitter >= 0 and 0 <= loss < 1):
            raise ValueError(f"rtt={rtt}, jitter={jitter} must be >= 0 and loss={loss} in [0, 1).")
        up, down = np.random.SeedSequence(seed).spawn(2)
        self._up = _Queue(rates.up, rtt, jitter, loss, clock, up)
        self._down = _Queue(rates.down, rtt, jitter, loss, clock, down)

    def reserve(self, nbytes: int, *, down: bool = False, at: float | None = None) -> float:
        """Queues a message that is ready at ``at`` (default: now) and returns when it arrives (clock seconds)."""
        return self._queue(down).reserve(nbytes, at)

    def ideal(self, nbytes: int, *, down: bool = False, at: float | None = None) -> float:
        """When a message would arrive if the queue were empty, without loss or jitter; nothing is reserved."""
        return self._queue(down).ideal(nbytes, at)

    def traffic(self, *, down: bool = False) -> Traffic:
        """What was reserved in one direction so far."""
        return self._queue(down).traffic

    def _queue(self, down: bool) -> "_Queue":
        return self._down if down else self._up


class _Queue:
    """One direction of a link."""

    def __init__(
        self, trace: Trace, rtt: float, jitter: float, loss: float, clock: Clock, seed: np.random.SeedSequence
    ) -> None:
        self._trace, self._rtt, self._jitter, self._loss, self._clock = trace, rtt, jitter, loss, clock
        self._random = np.random.default_rng(seed)
        self._origin = self._free = self._last = clock.now()
        self.traffic = Traffic()

    def ideal(self, nbytes: int, at: float | None = None) -> float:
        start = self._clock.now() if at is None else at
        return self._sent(start, nbytes) + self._rtt / 2

    def reserve(self, nbytes: int, at: float | None = None) -> float:
        if nbytes < 0:
            raise ValueError(f"a message cannot have {nbytes} bytes.")
        rounds, again = self._losses(nbytes)
        self._free = self._sent(max(self._clock.now() if at is None else at, self._free), nbytes + again)
        late = self._jitter * float(self._random.random()) if self._jitter else 0.0
        self._last = max(self._last, self._free + self._rtt / 2 + rounds * self._rtt + late)
        known = self.traffic
        self.traffic = Traffic(messages=known.messages + 1, bytes=known.bytes + nbytes, resent=known.resent + again)
        return self._last

    def _sent(self, start: float, nbytes: int) -> float:
        return self._origin + self._trace.finish(max(0.0, start - self._origin), nbytes)

    def _losses(self, nbytes: int) -> tuple[int, int]:
        lost, rounds, again = max(1, ceil(nbytes / PACKET)), 0, 0
        if not self._loss:
            return 0, 0
        while lost := int(self._random.binomial(lost, self._loss)):
            rounds, again = rounds + 1, again + min(lost * PACKET, nbytes)
        return rounds, again
