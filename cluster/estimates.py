"""What links and nodes give, estimated from what was observed: rate, delay, load, outages. Arithmetic, no clock.

Everything is positive and changes by factors, so the filters work on logarithms: an extended Kalman filter of
t = delay + bytes * slowness for a direction of a link, a plain one for the load of a node. Uncertainty grows while
nothing is observed. One observation far off is half believed (it may have queued behind others); what is faster than
expected, or is off twice in a row, is believed at once: something has changed.
"""

from dataclasses import dataclass
from math import exp, inf, log, sqrt

from aiflow.errors import InputError

NOISE = 0.1
"""Standard deviation of the logarithm of a transfer's or a computation's time, where nothing changes."""
FLOOR = 0.002
"""Seconds by which any transfer may be late."""
FAR = 3.0
"""Standard deviations from which on an observation says that something has changed, or has queued."""
SLACK = 0.25
"""Seconds beyond what a transfer may take before its link counts as down."""
_LATE = 2.5
_MOST = 1.0  # variance of a logarithm that is as good as unknown


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value, the standard deviation of its logarithm, and when it was observed last (-inf: never)."""

    value: float
    spread: float
    seen: float


class Level:
    """A factor, such as a node's load: 1 until something was observed."""

    def __init__(self, value: float = 1.0, *, spread: float = 0.3, drift: float = 0.15, noise: float = NOISE) -> None:
        """``drift``: standard deviation of its logarithm after a second without observations. Raises InputError."""
        if not (0 < value < inf and spread >= 0 and drift >= 0 and noise > 0):
            raise InputError(f"value={value}, spread={spread}, drift={drift}, noise={noise}: give numbers above 0.")
        self._x, self._p, self._q, self._r = log(value), spread**2, drift**2, noise**2
        self._at, self._far = -inf, 0

    def at(self, now: float) -> Estimate:
        """What is known at a moment."""
        return Estimate(value=exp(self._x), spread=sqrt(self._variance(now)), seen=self._at)

    def add(self, value: float, now: float) -> None:
        """It was ``value`` just now. Raises InputError unless that is positive and finite."""
        if not 0 < value < inf:
            raise InputError(f"an observed factor of {value} is not usable; give a positive number.")
        p, off = self._variance(now), log(value) - self._x
        p, off, self._far = _judged(p, off, p + self._r, self._far)
        gain = p / (p + self._r)
        self._x += gain * off
        self._p, self._at = (1 - gain) * p, max(now, self._at)

    def _variance(self, now: float) -> float:
        idle = max(0.0, now - self._at) if self._at > -inf else 0.0
        return min(_MOST, self._p + self._q * idle)


class Direction:
    """One direction of a link, estimated from messages of any size."""

    def __init__(
        self, *, rate: float, delay: float, spread: float = 0.5, drift: tuple[float, float] = (0.03, 0.12)
    ) -> None:
        """Starts from what is configured or guessed: bytes/s and seconds, known up to ``spread``.

        ``drift``: of the logarithms of delay and slowness after a second without observations. Raises InputError.
        """
        if not (0 < rate < inf and 0 <= delay < inf and spread >= 0):
            raise InputError(f"rate={rate}, delay={delay}, spread={spread}: give a rate above 0 and seconds.")
        self._a, self._b = log(max(delay, 1e-5)), -log(rate)  # of delay and seconds per byte
        self._p = [min(0.25, spread**2), 0.0, spread**2]  # variances and covariance: aa, ab, bb
        self._q = drift[0] ** 2, drift[1] ** 2
        self._at, self._far = -inf, 0
        self.silent_since: float | None = None

    @property
    def down(self) -> bool:
        """Whether something that was sent has not arrived in time, and nothing has arrived since."""
        return self.silent_since is not None

    @property
    def seen(self) -> float:
        """When something arrived last; -inf: never."""
        return self._at

    @property
    def delay(self) -> float:
        """One-way seconds."""
        return exp(self._a)

    def rate(self, now: float) -> Estimate:
        """Bytes/s."""
        return Estimate(value=exp(-self._b), spread=sqrt(self._variances(now)[2]), seen=self._at)

    def expected(self, nbytes: float) -> float:
        """Seconds of a message."""
        return exp(self._a) + nbytes * exp(self._b)

    def limit(self, nbytes: float, now: float) -> float:
        """Seconds after which a message that has not arrived means that the link is down."""
        aa, _, bb = self._variances(now)
        sized = nbytes * exp(self._b)
        return exp(self._a + _LATE * sqrt(aa)) + sized * exp(_LATE * min(1.0, sqrt(bb + NOISE**2))) + SLACK

    def late(self, now: float) -> None:
        """A message has not arrived within its limit."""
        if self.silent_since is None:
            self.silent_since = now

    def add(self, nbytes: float, seconds: float, now: float) -> None:
        """A message took so long and is here. After an outage nothing is known of the rate. Raises InputError."""
        if not (0 <= nbytes < inf and 0 < seconds < inf):
            raise InputError(f"{nbytes} bytes in {seconds} s is no transfer; give positive numbers.")
        aa, ab, bb = self._variances(now)
        was_down, self.silent_since = self.down, None
        self._at = max(now, self._at)
        if was_down:  # how long it was away says little of what the link gives now
            self._p = [max(aa, 0.1), 0.0, _MOST]
            return
        sized, still = nbytes * exp(self._b), exp(self._a)
        whole = sized + still
        ha, hb = still / whole, sized / whole
        noise = NOISE**2 + (FLOOR / seconds) ** 2
        known, off = ha * ha * aa + 2 * ha * hb * ab + hb * hb * bb, log(seconds / whole)
        grown, off, self._far = _judged(known, off, known + noise, self._far)
        if grown > known:
            more = (grown - known) / max(ha * ha + hb * hb, 1e-9)
            aa, bb, known = aa + ha * ha * more, bb + hb * hb * more, 0.0
            known = ha * ha * aa + 2 * ha * hb * ab + hb * hb * bb
        total = known + noise
        ga, gb = (ha * aa + hb * ab) / total, (ha * ab + hb * bb) / total
        self._a += ga * off
        self._b += gb * off
        self._p = [aa - ga * ga * total, ab - ga * gb * total, bb - gb * gb * total]

    def _variances(self, now: float) -> tuple[float, float, float]:
        idle = max(0.0, now - self._at) if self._at > -inf else 0.0
        aa = min(_MOST, max(1e-6, self._p[0]) + self._q[0] * idle)
        bb = min(_MOST, max(1e-6, self._p[2]) + self._q[1] * idle)
        most = 0.99 * sqrt(aa * bb)  # a cut variance must leave a covariance that can be
        return aa, min(most, max(-most, self._p[1])), bb


def _judged(variance: float, off: float, total: float, far: int) -> tuple[float, float, int]:
    """The variance and the deviation to go on with, and how often in a row it was far off; see the top."""
    z = off / sqrt(total)
    if abs(z) <= FAR:
        return variance, off, 0
    sure = z < 0 or far > 0
    return max(variance, off * off / 2), off if sure else off / 2, far + 1
