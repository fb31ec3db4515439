"""What an asker knows of a device and its server: their codec, what the link gives, how long each computes.

Arithmetic; sends nothing and knows no clock.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from aiflow.agents.tofc import wire
from aiflow.collaboration.tofc.control import WINDOW, Controller, Setting, pareto


class Channel:
    """Chooses settings, and learns from what became of them."""

    def __init__(self, about: wire.About, *, rate: float, rtt: float) -> None:
        """``rate`` (bytes/s) is assumed until something was sent; ``rtt`` in seconds."""
        self._finest = Setting(tokens=max(about.tokens), level=about.levels - 1, nbytes=0.0, score=0.0)
        given = [Setting(tokens=c.tokens, level=c.level, nbytes=c.nbytes, score=c.score) for c in about.profile]
        self._profile = given or [self._finest]
        self._controller = Controller(self._profile, rate=rate, rtt=rtt)
        self._device: deque[float] = deque(maxlen=WINDOW)
        self._server: deque[float] = deque(maxlen=WINDOW)
        self._reply: deque[float] = deque(maxlen=WINDOW)

    @property
    def rtt(self) -> float:
        """Seconds that an empty message would take to the server and back."""
        return self._controller.rtt

    @property
    def rate(self) -> float:
        """The estimated rate of the link in bytes/s."""
        return self._controller.rate

    def choose(self, left: float, beside: int, tokens: int | None, level: int | None) -> tuple[int, int]:
        """Tokens and level that should be answered within ``left`` seconds: the best such, or the fewest bytes.

        ``beside``: bytes that travel with the image. What the caller has decided stays; without a profile the finest
        setting is taken.
        """
        fitting = [s for s in self._profile if tokens in (None, s.tokens) and level in (None, s.level)]
        if not fitting:
            return self._finest.tokens if tokens is None else tokens, self._finest.level if level is None else level
        more = beside + _worst(self._reply)
        self._controller.settings = pareto(
            replace(
                setting,
                nbytes=setting.nbytes + more,
                device_seconds=_worst(self._device),
                server_seconds=_worst(self._server),
            )
            for setting in fitting
        )
        best = self._controller.choose(left)
        return best.tokens, best.level

    def learn(self, *, nbytes: int, link: float, reply: int, device: float, server: float) -> None:
        """``nbytes`` took ``link`` seconds, without propagation; then came a ``reply``. The others are of computing."""
        self._controller.observe(nbytes, link)
        self._device.append(device)
        self._server.append(server)
        self._reply.append(reply)


def _worst(seen: Iterable[float]) -> float:
    """The greatest of the last ones: a deadline is met or missed by single answers."""
    return max(seen, default=0.0)
