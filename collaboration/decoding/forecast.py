"""Seconds per token of a plan that overlaps drafting and judging: no closed formula, so a short game with coins.

The game knows when tokens are drafted, arrive and are judged, and nothing else; some hundred tokens take a millisecond.
The same coins serve all plans, so plans can be compared. `bench.decoding` checks it against the real tiers.
"""

import random
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from aiflow.collaboration.decoding.costs import Profile, alone

TOKENS = 400


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A plan's numbers: see `tier.Plan`. ``ahead`` 0: the server decodes alone."""

    block: int
    ahead: int
    eager: bool


CHOICES = tuple(Choice(block=1, ahead=ahead, eager=eager) for eager in (False, True) for ahead in (4, 8, 16, 32))
OFF = Choice(block=1, ahead=0, eager=True)
"""What a device may choose from, and not to draft."""
WORTH = 0.01
"""Least gain, as a share, for which a device drafts at all."""


def seconds(alpha: float, profile: Profile, choice: Choice, tokens: int = TOKENS) -> float:
    """Expected seconds per token, at an acceptance of ``alpha`` per place."""
    if not choice.ahead:
        return alone(profile)
    game = _Game(_coins(round(alpha, 3), tokens + 100), profile, choice)
    while game.said < tokens:
        game.round()
    return game.time / game.said


class _Game:
    """Times are seconds; ``sent`` holds (arrival, first place, end) of the drafts under way, in order."""

    def __init__(self, good: tuple[bool, ...], profile: Profile, choice: Choice) -> None:
        self.good, self.profile, self.choice = good, profile, choice
        self.time = 0.0  # when the verifier is free
        self.said = 0  # places that the verifier has said
        self.clean = True  # whether what the device goes on from is what the verifier said
        self.drafted = self.flushed = 0
        self.known = 0  # places that the device knows to be judged
        self.free = 0.0  # when the device can draft the next token
        self.sent: deque[tuple[float, int, int]] = deque()
        self.news: deque[tuple[float, int, bool]] = deque()  # (arrival, places judged, whether drafts are void)

    def round(self) -> None:
        """The verifier's next round."""
        self._draft(self.time)
        there = self._there()
        if there <= self.said and not self.choice.eager:
            self._draft(self.time, until_sent=True)
            self.time = max(self.time, self.sent[0][0])
            self._draft(self.time)
            there = self._there()
        proposals = max(0, there - self.said)
        end = self.time + self.profile.verify + proposals * self.profile.per_row
        self._draft(end)
        place = self.said
        while place < there and self.good[place]:
            place += 1
        self.said = place + 1
        if place < there or (self.drafted > place and not self.good[place]):  # a wrong draft ends here
            self._void(end)
        self.time = end
        self.news.append((end + self.profile.down, self.said, False))

    def _void(self, end: float) -> None:
        """Drafts beyond a wrong one count no more; the device hears of it later."""
        self.sent.clear()
        self.clean = False
        self.news.append((end + self.profile.down, self.said, True))

    def _late(self, place: int) -> None:
        """A wrong draft for a place that the verifier has said; the device does not know yet."""
        self.sent.clear()
        self.clean = False
        at = next(i for i, (_, said, _) in enumerate(self.news) if said > place)
        self.news[at] = (*self.news[at][:2], True)

    def _there(self) -> int:
        """End of the drafts that have arrived."""
        arrived = [end for arrival, _, end in self.sent if arrival <= self.time] if self.clean else []
        return max(arrived, default=0)

    def _draft(self, until: float, *, until_sent: bool = False) -> None:
        """Lets the device draft up to a moment, or until something is under way."""
        while True:
            if self.news and self.news[0][0] <= max(self.free, 0.0 if self._may() else until):
                self._hear()
                continue
            if until_sent and self.sent and self.clean:
                return
            if not self._may():
                if self.news and (until_sent or self.news[0][0] <= until):
                    self._hear()
                    continue
                return
            if self.free + self.profile.draft > until and not until_sent:
                return
            self.free += self.profile.draft
            if self.drafted < self.said and self.clean and not self.good[self.drafted]:
                self._late(self.drafted)
            self.drafted += 1
            if self.drafted - self.flushed >= self.choice.block or not self._may():
                if self.clean:
                    self.sent.append((self.free + self.profile.up, self.flushed, self.drafted))
                self.flushed = self.drafted

    def _may(self) -> bool:
        return self.drafted - self.known < self.choice.ahead

    def _hear(self) -> None:
        blocked = not self._may()
        when, said, void = self.news.popleft()
        self.known = max(self.known, said)
        if void or self.drafted < said:
            self.drafted = self.flushed = said
            blocked = True
        if void:
            self.known = said
            self.clean = not any(v for _, _, v in self.news)
        if blocked:
            self.free = max(self.free, when)


@lru_cache(maxsize=64)
def _coins(alpha: float, places: int) -> tuple[bool, ...]:
    good = [
        place < round(alpha * places) for place in range(places)
    ]  # the very share, so that plans differ and not luck
    random.Random(17).shuffle(good)
    return tuple(good)
