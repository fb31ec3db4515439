"""Chooses the number of tokens and the quality level from the channel and the deadline. Pure arithmetic, no clock.

A profile says of every setting what it costs and how good it is; the controller watches transfers and takes the best
setting that a slow moment of the channel would still carry in time. Source: AI Flow, section II-B1.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiflow.errors import InputError

WINDOW = 8
"""Transfers that the estimate of the rate remembers."""
MEMORY = 300
"""Transfers whose estimates are remembered with what became of them."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to send an image.

    Attributes:
        tokens: merged features.
        level: of quality.
        nbytes: of the stream; a high percentile over images, since a deadline is met or missed by single ones.
        score: expected, on any scale.
        device_seconds: for vision encoder, merging and coding.
        server_seconds: for decoding and the answer.
    """

    tokens: int
    level: int
    nbytes: float
    score: float
    device_seconds: float = 0.0
    server_seconds: float = 0.0

    def seconds(self, rate: float, rtt: float = 0.0) -> float:
        """From the image to the answer over a link of ``rate`` bytes/s."""
        return self.device_seconds + self.nbytes / rate + rtt + self.server_seconds


def pareto(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    """Those that no other beats in bytes and score at once, by ascending bytes; computing times are taken as alike."""
    kept: list[Setting] = []
    for setting in sorted(settings, key=lambda s: (s.nbytes, -s.score)):
        if not kept or setting.score > kept[-1].score:
            kept.append(setting)
    return tuple(kept)


class Controller:
    """Follows one device's channel to its server.

    The rate is estimated by the harmonic mean of the last transfers, or the latest where that is slower. How far an
    estimate may be trusted is measured, too: it is multiplied with what all but ``misses`` of the past estimates would
    have needed to come true. So a channel that collapses now and then is met with small messages, a steady one is not.
    """

    def __init__(
        self, profile: Sequence[Setting], *, rate: float, rtt: float = 0.0, caution: float = 0.2, misses: float = 0.01
    ) -> None:
        """``rate`` (bytes/s) is assumed until something was sent; ``rtt`` in seconds; ``caution``: least reduction.

        Raises InputError for an empty profile, a rate not above 0, or a caution or share of misses outside [0, 1).
        """
        self.settings = pareto(profile)
        if not self.settings or not rate > 0 or not rtt >= 0 or not 0 <= caution < 1 or not 0 <= misses < 1:
            raise InputError(
                f"{len(self.settings)} settings, rate {rate}, rtt {rtt}, caution {caution}, misses {misses}: give a "
                "profile, a rate above 0, a round trip of at least 0, and a caution and misses in [0, 1)."
            )
        self.rtt, self.caution, self.misses = rtt, caution, misses
        self._rates = deque([float(rate)], maxlen=WINDOW)
        self._kept: deque[float] = deque(maxlen=MEMORY)

    @property
    def rate(self) -> float:
        """The estimated rate in bytes/s."""
        return min(len(self._rates) / sum(1 / r for r in self._rates), self._rates[-1])

    @property
    def trust(self) -> float:
        """The factor that makes an estimate safe: 1 less ``caution``, or less where estimates have failed."""
        if not self._kept:
            return 1 - self.caution
        worst = sorted(self._kept)
        return min(1 - self.caution, worst[int(self.misses * len(worst))])

    def observe(self, nbytes: int, seconds: float) -> None:
        """A transfer of ``nbytes`` took ``seconds`` on the link (serialisation, without the round trip)."""
        if nbytes > 0 and seconds > 0:
            self._kept.append(nbytes / seconds / self.rate)
            self._rates.append(nbytes / seconds)

    def choose(self, deadline: float) -> Setting:
        """The best setting that should meet a deadline (s); where none does, the one with the fewest bytes."""
        rate = self.rate * self.trust
        fitting = [s for s in self.settings if s.seconds(rate, self.rtt) <= deadline]
        return max(fitting, key=lambda s: s.score) if fitting else self.settings[0]
