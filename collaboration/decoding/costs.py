"""What collaborative decoding costs in seconds per token, and whether and how far ahead to draft. Pure arithmetic.

Knows no clocks, models or messages: measured times come in as a `Profile`, and acceptances are taken as independent.
Sources: Leviathan et al. 2023; PEARL (Liu et al. 2025); AI Flow, section II-B2.

Legend: alpha is the probability that a proposal is accepted, gamma the draft length in tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, repeat
from math import inf
from operator import mul

from aiflow.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Seconds of two neighbouring tiers and the link between them. Raises InputError unless finite and >= 0.

    Attributes:
        draft: t_d, of one drafted token on the lower tier.
        verify: t_v > 0, of a forward of the upper tier on the pending token alone.
        per_row: further seconds of that forward for each proposal; about 0 where memory is the limit.
        up, down: of a round's one message each way (`one_way`).
    """

    draft: float
    verify: float
    per_row: float = 0.0
    up: float = 0.0
    down: float = 0.0

    def __post_init__(self) -> None:
        for f in fields(self):
            _check(f.name, getattr(self, f.name), "seconds")
        if self.verify == 0:
            raise InputError("verify=0.0 is not usable; measure a forward of the upper tier.")

    def judging(self, proposals: int) -> float:
        """t_v(proposals) and both messages: from the last drafted token to the verdict."""
        return self.up + self.verify + proposals * self.per_row + self.down

    def round(self, gamma: int) -> float:
        """Drafting and judging, one after the other."""
        return gamma * self.draft + self.judging(gamma)


def one_way(rtt: float, size: float, rate: float) -> float:
    """Seconds of one message: rtt / 2 + size / rate, with bytes and bytes/s (inf: no limit). Raises InputError."""
    _check("rtt", rtt, "seconds")
    _check("size", size, "bytes")
    if not rate > 0:
        raise InputError(f"rate={rate} is not usable; give bytes per second, above 0.")
    return rtt / 2 + size / rate


def tokens_per_round(alpha: float, gamma: int) -> float:
    """E = 1 + alpha + ... + alpha^gamma, the mean tokens of a synchronous round. Leviathan et al. 2023, equation 1."""
    _check("alpha", alpha, "a probability", most=1)
    _check("gamma", gamma, "a draft length")
    return tokens_of([alpha] * gamma)


def tokens_of(alphas: Sequence[float]) -> float:
    """E where acceptance differs by place: 1 + sum over k of alpha_1 ... alpha_k."""
    for place, alpha in enumerate(alphas, 1):
        _check(f"alpha {place}", alpha, "a probability", most=1)
    *_, mean = _means(alphas)
    return mean


def alone(profile: Profile) -> float:
    """Seconds per token of the upper tier by itself. It streams: its messages overlap with its work."""
    return profile.verify


def synchronous(alpha: float, gamma: int, profile: Profile) -> float:
    """Seconds per token where drafting and judging take turns. At gamma = 0 every token waits for two messages."""
    return profile.round(gamma) / tokens_per_round(alpha, gamma)


def speedup(alpha: float, gamma: int, c: float, r: float = 0.0) -> float:
    """S = E / (1 + gamma c + r) over the upper tier alone, c = t_d / t_v and r = (up + down) / t_v.

    Leviathan et al. 2023, theorem 3.8, with the link added.
    """
    for name, ratio in (("c", c), ("r", r)):
        _check(name, ratio, "a ratio of times")
    return tokens_per_round(alpha, gamma) / (1 + gamma * c + r)


def best_length(alpha: float, profile: Profile, most: int = 64) -> int:
    """The gamma in 0..most of least `synchronous` time, the shorter of equals.

    0: speculation does not pay, and the upper tier streams (`alone`).
    """
    _check("alpha", alpha, "a probability", most=1)
    _check("most", most, "a draft length")
    times = [profile.round(gamma) / mean for gamma, mean in enumerate(_means(repeat(alpha, most)))]
    times[0] = alone(profile)
    return times.index(min(times))


def break_even(gamma_most: int, profile: Profile) -> float | None:
    """The least alpha at which `best_length` is not 0, to 1e-12 from above; None: there is none."""
    if not best_length(1.0, profile, gamma_most):
        return None
    low, high = 0.0, 1.0  # at 0 a round says one token and cannot pay
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (low, middle) if best_length(middle, profile, gamma_most) else (middle, high)
    return high


def states_pay_from(gamma: int, share: float, size: float, profile: Profile) -> float:
    """Least rate, in bytes/s, from which hidden states should travel with the ids of a device that is a branch.

    The upper tier then skips the ``share`` of its forward that the device has computed, and ``size`` bytes for each of
    gamma + 1 places come before it can begin. Below that rate ids alone are faster. Raises InputError.
    """
    _check("share", share, "a share of the upper tier's forward", most=1)
    _check("size", size, "bytes")
    saved = share * (profile.verify + gamma * profile.per_row)
    return (gamma + 1) * size / saved if saved else inf


def chained(alpha: float, gamma: int) -> float:
    """T, the mean tokens of a step where the next block is drafted while one is judged; gamma at alpha = 1.

    1 / [(1 - a)(1 + a + a^g / (1 - a^g))], the mean of PEARL's chain of pre-verify and post-verify steps. A rejection
    wastes the block that is being drafted, and a full acceptance brings no further token. Needs gamma >= 1.
    """
    _check("gamma", gamma, "a draft length", least=1)
    powers = tokens_per_round(alpha, gamma - 1)  # (1 - a^g) / (1 - a)
    return powers / ((1 - alpha) * (1 + alpha) * powers + alpha**gamma)


def aligned(profile: Profile) -> int:
    """The draft length >= 1 that takes as long as its verdict, ``per_row`` aside. AI Flow, section II-B2.

    Raises InputError where drafting takes no time, since then no length does.
    """
    if profile.draft == 0:
        raise InputError("draft=0.0 is not usable; measure the lower tier, or name a draft length.")
    return max(1, round(profile.judging(0) / profile.draft))


def pearl(alpha: float, gamma: int, profile: Profile) -> float:
    """Seconds per token of the parallel pipeline: a step is as long as its slower side, and says `chained` tokens.

    A verdict reads gamma >= 1 rows, one of them the pending token's.
    """
    return max(gamma * profile.draft, profile.judging(gamma - 1)) / chained(alpha, gamma)


def nested(alpha2: float, gamma2: int, below: float, profile2: Profile) -> float:
    """Seconds per token of three tiers, synchronous on both links; ``below`` of the lower two is drafting time here.

    As if the middle tier stopped at gamma2 tokens exactly. Its blocks reach beyond: to drop the rest costs 2 to 36 %
    more in simulations, to send it acts as a longer gamma2. ``profile2.draft`` is not used.
    """
    _check("below", below, "seconds")
    return synchronous(alpha2, gamma2, replace(profile2, draft=below))


def heuristic(gamma: int, all_accepted: bool) -> int:
    """The next draft length by transformers' "heuristic" schedule: 2 more after a full acceptance, else 1 less."""
    _check("gamma", gamma, "a draft length")
    return gamma + 2 if all_accepted else max(1, gamma - 1)


class Acceptance:
    """A running estimate of alpha: maximum likelihood over judged tokens, the old ones counting less."""

    def __init__(self, *, prior: float = 0.7, weight: float = 4.0, half_life: float = 64.0) -> None:
        """Starts as if ``weight`` tokens had been judged and the share ``prior`` of them accepted; that fades too.

        ``half_life``: judged tokens after which a token counts half; inf forgets nothing. Raises InputError.
        """
        _check("prior", prior, "a probability", most=1)
        if not (0 < weight < inf and half_life > 0):
            raise InputError(f"weight={weight}, half_life={half_life}: not usable; give judged tokens, above 0.")
        self._accepted, self._rejected, self._half_life = weight * prior, weight * (1 - prior), half_life

    def add(self, accepted: int, rejected: int) -> None:
        """Counts a block: its accepted tokens, and 1 if one was rejected. Raises InputError below 0."""
        _check("accepted", accepted, "a count")
        _check("rejected", rejected, "a count")
        fade = 0.5 ** ((accepted + rejected) / self._half_life)
        self._accepted = self._accepted * fade + accepted
        self._rejected = self._rejected * fade + rejected

    @property
    def value(self) -> float:
        """accepted / (accepted + rejected)."""
        return self._accepted / (self._accepted + self._rejected)


def _means(alphas: Iterable[float]) -> Iterator[float]:
    """E of no proposal, of the first, of the first two, ..."""
    return accumulate(accumulate(alphas, mul), initial=1.0)


def _check(name: str, value: float, what: str, *, least: float = 0, most: float = inf) -> None:
    if not (least <= value <= most and value < inf):
        bounds = f"finite and at least {least}" if most == inf else f"{least} to {most}"
        raise InputError(f"{name}={value} is not usable; give {what}, {bounds}.")
