"""What collaborative decoding costs in seconds per token, and whether and how far ahead to draft. Pure arithmetic.

Knows no clocks, models or messages: times are measured elsewhere and come in as a `Profile`. Chances of acceptance are
taken as independent. Sources: Leviathan et al. 2023; PEARL (Liu et al. 2025); AI Flow, section II-B.

Legend: alpha is the probability that a proposal is accepted, gamma the draft length in tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, repeat
from math import inf
from operator import mul

from aiflow.errors import InputError


def tokens_per_round(alpha: float, gamma: int) -> float:
    """E = 1 + alpha + ... + alpha^gamma, the mean tokens of a synchronous round. Leviathan et al. 2023, equation 1."""
    _share("alpha", alpha)
    _length("gamma", gamma)
    *_, mean = _means(repeat(alpha, gamma))
    return mean


def tokens_of(alphas: Sequence[float]) -> float:
    """E where the chance of acceptance differs by place: 1 + sum over k of alpha_1 ... alpha_k."""
    for place, alpha in enumerate(alphas, 1):
        _share(f"alpha of place {place}", alpha)
    *_, mean = _means(alphas)
    return mean


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
            _seconds(f.name, getattr(self, f.name))
        if self.verify == 0:
            raise InputError("verify=0.0 s is not usable; measure a forward of the upper tier.")

    def judging(self, proposals: int) -> float:
        """t_v(proposals) and both messages: from the last drafted token to the verdict."""
        return self.up + self.verify + proposals * self.per_row + self.down

    def round(self, gamma: int) -> float:
        """Drafting and judging, one after the other."""
        return gamma * self.draft + self.judging(gamma)


def one_way(rtt: float, size: float, rate: float) -> float:
    """Seconds of one message of ``size`` bytes: rtt / 2 + size / rate, the rate in bytes/s. Raises InputError."""
    _seconds("rtt", rtt)
    if not 0 <= size < inf:
        raise InputError(f"size={size} is not usable; give bytes, finite and at least 0.")
    if not 0 < rate <= inf:
        raise InputError(f"rate={rate} is not usable; give bytes per second, above 0.")
    return rtt / 2 + size / rate


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
    return 1 / synchronous(alpha, gamma, Profile(draft=c, verify=1.0, up=r))


def best_length(alpha: float, profile: Profile, most: int = 64) -> int:
    """The gamma in 0..most of least `synchronous` time, the shorter of equals.

    0: speculation does not pay, and the upper tier streams (`alone`).
    """
    _share("alpha", alpha)
    _length("most", most)
    times = [profile.round(gamma) / mean for gamma, mean in enumerate(_means(repeat(alpha, most)))]
    times[0] = alone(profile)
    return times.index(min(times))


def break_even(gamma_most: int, profile: Profile) -> float | None:
    """The least alpha from which on `best_length` is not 0, by bisection to 1e-12; None: there is none."""
    if not best_length(1.0, profile, gamma_most):
        return None
    low, high = 0.0, 1.0  # at 0 a round says one token and cannot pay
    while high - low > 1e-12:
        middle = (low + high) / 2
        if best_length(middle, profile, gamma_most):
            high = middle
        else:
            low = middle
    return high


def chained(alpha: float, gamma: int) -> float:
    """T, the mean tokens of a step where the next block is drafted while one is judged; gamma at alpha = 1.

    1 / [(1 - a)(1 + a + a^g / (1 - a^g))], the mean of PEARL's chain of pre-verify and post-verify steps. A rejection
    wastes the block that is being drafted, and no step says a token beyond its proposals. Raises InputError below 1.
    """
    _length("gamma", gamma, 1)
    return 1 / ((1 - alpha) * (1 + alpha) + alpha**gamma / tokens_per_round(alpha, gamma - 1))


def aligned(profile: Profile) -> int:
    """The draft length >= 1 that takes as long as its verdict, ``per_row`` aside. AI Flow, section II-B2.

    Raises InputError where drafting takes no time, since then no length does.
    """
    if profile.draft == 0:
        raise InputError("draft=0.0 s is not usable; measure the lower tier, or name a draft length.")
    return max(1, round(profile.judging(0) / profile.draft))


def pearl(alpha: float, gamma: int, profile: Profile) -> float:
    """Seconds per token of the parallel pipeline: a step is as long as its slower side, and says `chained` tokens.

    A verdict reads gamma rows, one of them the pending token's. Raises InputError for gamma below 1.
    """
    tokens = chained(alpha, gamma)
    return max(gamma * profile.draft, profile.judging(gamma - 1)) / tokens


def nested(alpha2: float, gamma2: int, below: float, profile2: Profile) -> float:
    """Seconds per token of three tiers, synchronous on both links, as if the two lower ones said tokens steadily.

    Whole blocks reach beyond gamma2, which costs extra: 0 to 19 % at the best lengths, and up to a third where the
    overshoot is thrown away.

    Args:
        alpha2: acceptance at the third tier.
        gamma2: tokens of the second tier that it judges at once.
        below: seconds per token of the two lower tiers (`synchronous`).
        profile2: of the upper link; ``below`` takes the place of its ``draft``.
    """
    return synchronous(alpha2, gamma2, replace(profile2, draft=below))


def heuristic(gamma: int, all_accepted: bool) -> int:
    """The next draft length by transformers' "heuristic" schedule: 2 more after a full acceptance, else 1 less."""
    _length("gamma", gamma)
    return gamma + 2 if all_accepted else max(1, gamma - 1)


class Acceptance:
    """A running estimate of alpha: maximum likelihood where old tokens count less and less.

    Counts judged tokens only: drafts behind a rejection were never judged.
    """

    def __init__(self, *, prior: float = 0.7, weight: float = 4.0, half_life: float = 64.0) -> None:
        """Starts as if ``weight`` tokens had been judged and the share ``prior`` of them accepted; that fades too.

        ``half_life``: judged tokens after which a token counts half; inf forgets nothing. Raises InputError.
        """
        _share("prior", prior)
        if not (0 < weight < inf and half_life > 0):
            raise InputError(f"weight={weight}, half_life={half_life}: not usable; give judged tokens, above 0.")
        self._accepted, self._rejected = weight * prior, weight * (1 - prior)
        self._half_life = half_life

    def add(self, accepted: int, rejected: int) -> None:
        """Counts a block: its accepted tokens, and 1 if one was rejected. Raises InputError below 0."""
        _length("accepted", accepted)
        _length("rejected", rejected)
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


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name}={value} is not usable; give a probability, 0 to 1.")


def _length(name: str, value: int, least: int = 0) -> None:
    if value < least:
        raise InputError(f"{name}={value} is not usable; give a count of at least {least}.")


def _seconds(name: str, value: float) -> None:
    if not 0 <= value < inf:
        raise InputError(f"{name}={value} is not usable; give seconds, finite and at least 0.")
