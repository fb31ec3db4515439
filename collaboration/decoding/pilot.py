"""Chooses a session's plan from what it measures: times, the round trip, and how often proposals are accepted.

Drafts go up token by token and the verifier judges whatever is there; what is left to choose is how far ahead to draft,
whether the verifier decodes by itself while it waits, and whether drafting pays at all: each is played through
(`forecast`) and the fastest taken. Lives at the device; knows no links. Source: AI Flow, section II-B2.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from aiflow.collaboration.decoding import forecast
from aiflow.collaboration.decoding.costs import Acceptance, Profile, alone
from aiflow.collaboration.decoding.forecast import CHOICES, OFF, WORTH, Choice
from aiflow.collaboration.decoding.tier import Plan, Tier

FIRST = Choice(block=1, ahead=8, eager=True)
GAIN = 0.03
"""Least gain, as a share, for which a plan is changed."""
EVERY, REST, PROBE = 12, 96, 24
"""Verdicts between two looks at the plans; tokens without drafts; and with drafts, to see whether they pay by now."""
FORGET = 0.9


@dataclass
class _Mean:
    """An exponentially weighted mean."""

    value: float = 0.0

    def add(self, x: float) -> None:
        self.value = FORGET * self.value + (1 - FORGET) * x if self.value else x


class Pilot:
    """Watches the device's tier of one session and sets its plan."""

    def __init__(self, tier: Tier, told: Callable[[], None] = lambda: None) -> None:
        """``told``: called when the tier above must hear of a new plan although nothing is drafted."""
        self.tier, self._told = tier, told
        self.acceptance = Acceptance()
        self.draft, self.verify = _Mean(), _Mean()
        self.wait: float | None = None
        self.choice = FIRST
        self._sent: dict[int, float] = {}
        self._own, self._above, self._echo, self._judged = tier.own, tier.above, tier.echo, (0, 0)
        self._verdicts, self._until = 0, 0
        self._set(FIRST)

    def __call__(self, now: float) -> None:
        """Takes note of the tier's state at clock time ``now``; call it after each change."""
        tier = self.tier
        if tier.own > self._own and tier.own > tier.above:
            self.draft.add(tier.took)
            self._sent[tier.own - 1] = now
        if tier.silent_above:
            self._sent.clear()  # how long it stays away is no round trip
        if tier.above != self._above or tier.echo != self._echo:
            self._verdict(now)
        self._own, self._above, self._echo = tier.own, tier.above, tier.echo

    @property
    def profile(self) -> Profile | None:
        """What was measured so far; None until all of it has been."""
        if not self.draft.value or not self.verify.value or self.wait is None:
            return None
        return Profile(draft=self.draft.value, verify=self.verify.value, up=self.wait / 2, down=self.wait / 2)

    def _verdict(self, now: float) -> None:
        tier = self.tier
        confirmed, refused = tier.confirmed - self._judged[0], tier.refused - self._judged[1]
        self._judged = (tier.confirmed, tier.refused)
        if confirmed or refused:
            self.acceptance.add(confirmed, refused)
        self.verify.add(tier.verdict_took)
        place, age = tier.echo
        sent = self._sent.get(place - 1) if tier.echo != self._echo else None
        if sent is not None and (wait := now - sent - age) >= 0:  # else the place was drafted anew meanwhile
            self.wait = wait if self.wait is None else FORGET * self.wait + (1 - FORGET) * wait
        self._sent = {p: t for p, t in self._sent.items() if p >= tier.above - 64}
        self._verdicts += 1
        if not self.choice.ahead:
            if tier.above >= self._until:
                self._until = tier.above + PROBE
                self._set(FIRST)
        elif self._verdicts % EVERY == 0 and tier.above >= self._until and self.profile is not None:
            self._choose(self.profile)

    def _choose(self, profile: Profile) -> None:
        alpha = round(min(self.acceptance.value, 0.98), 2)
        costs = {choice: forecast.seconds(alpha, profile, choice) for choice in {*CHOICES, self.choice}}
        best = min(costs, key=lambda c: costs[c])
        if costs[best] > (1 - WORTH) * alone(profile):
            self._until = self.tier.above + REST
            self._set(OFF)
        elif costs[best] < (1 - GAIN) * costs[self.choice]:
            self._set(best)

    def _set(self, choice: Choice) -> None:
        self.choice = choice
        plan = Plan(block=choice.block, ahead=choice.ahead, above=choice.eager, threshold=self.tier.plan.threshold)
        self.tier.plan = replace(plan, eager=self.tier.plan.eager)
        if not choice.ahead:
            self._told()
