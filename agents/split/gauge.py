"""What a link between two nodes gives, measured on what crosses it. Arithmetic; sends nothing."""

import math

SMALL = 2048
"""Bytes up to which a message tells the delay, and beyond which the rate."""
FORGET = 0.5


class Rate:
    """Delay in seconds and rate in bytes/s of one direction; infinitely fast until something was measured."""

    def __init__(self) -> None:
        self.delay: float | None = None
        self.rate = math.inf

    def add(self, nbytes: int, seconds: float) -> None:
        """A message that was alone on the link took so long."""
        if nbytes <= SMALL:
            self.delay = seconds if self.delay is None else min(self.delay, seconds)
            return
        rest = seconds - (self.delay or 0.0)
        found = nbytes / rest if rest > 0 else math.inf
        self.rate = found if math.isinf(self.rate + found) else self.rate + FORGET * (found - self.rate)


class Gauge:
    """Watches one direction during a session."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.busy = 0.0
        """Seconds in which something was on its way."""
        self._flying = 0
        self._since = self._free = 0.0
        self._alone = False

    def begin(self, nbytes: int, now: float) -> float:
        """A message leaves; when it should have arrived."""
        self._alone = not self._flying
        self._since = now if self._alone else self._since
        self._flying += 1
        self._free = max(now, self._free) + nbytes / self.rate.rate
        return self._free + (self.rate.delay or 0.0)

    def end(self, nbytes: int, now: float, *, learn: bool) -> None:
        """It has arrived; messages stay in their order. ``learn``: its time tells the rate."""
        self._flying -= 1
        if not self._flying:
            self.busy += now - self._since
            if self._alone and learn:
                self.rate.add(nbytes, now - self._since)
