"""The largest member of a family within a budget of parameters, memory or time per token.

The rule: as many backbone blocks as fit together with the smallest branch, then one kept share for all linears of the
branch from what remains, ranks floored, then single ranks while they fit. A branch never exceeds the share its exit
stores (a whole block where nothing is said), so a full branch at e and the smallest at e + 1 leave a sliver between
them, narrower than the smallest branch and one rank of each linear; a budget there takes the full branch at e.
Knows configurations and measured times, no weights. Source: EESB, AI Flow III-B2.
"""

import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, nextafter
from typing import Any, Protocol

from aiflow.collaboration.familial import counts
from aiflow.collaboration.familial.family import Member
from aiflow.collaboration.familial.linear import rank_of
from aiflow.errors import BudgetError, InputError

Spectra = Mapping[int, Mapping[str, Sequence[float]]]
"""By exit and linear name: the singular values of the branch's linears, largest first (sequences or 1-D tensors)."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Seconds per decoded token: ``fixed_s`` once, ``block_s`` per block, and a branch of share k:
    ``branch_base_s + k * branch_s``."""

    fixed_s: float
    block_s: float
    branch_s: float
    branch_base_s: float = 0.0

    def latency(self, exit: int, keep: float | None = None) -> float:
        """Seconds per token of the member; without ``keep`` it has no branch (the full model, or a bare early exit)."""
        branch_s = 0.0 if keep is None else self.branch_base_s + keep * self.branch_s
        return self.fixed_s + exit * self.block_s + branch_s


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A member: ``exit`` blocks, then a branch of these ``ranks``.

    ``keep`` is the share that gives the ranks before single ranks fill the budget up: `Member(exit, keep)` is the
    member of the uniform rule, at most one rank per linear smaller or so. The full model has no keep and no ranks.
    """

    exit: int
    keep: float | None
    ranks: Mapping[str, int]
    parameters: int

    @property
    def member(self) -> Member:
        """The family's member of the uniform rule."""
        return Member(exit=self.exit, keep=self.keep)


@dataclass(frozen=True, kw_only=True)
class _Exit:
    exit: int
    least: Fraction
    most: Fraction
    bare: int
    norms: int
    shapes: Mapping[str, tuple[int, int]]

    def ranks(self, share: Fraction) -> dict[str, int]:
        share = min(max(share, self.least), self.most)
        return {name: share.numerator * m * n // (share.denominator * (m + n)) for name, (m, n) in self.shapes.items()}

    def size(self, ranks: Mapping[str, int]) -> int:
        return self.bare + self.norms + sum((m + n) * ranks[name] for name, (m, n) in self.shapes.items())

    @property
    def smallest(self) -> int:
        return self.size(self.ranks(self.least))

    def plan(self, share: Fraction, ranks: Mapping[str, int]) -> Plan:
        share = min(max(share, self.least), self.most)
        keep = float(share)
        if Fraction(str(keep)) < share:  # a share just below the one that gives a rank would lose it
            keep = nextafter(keep, 1.0)
        return Plan(exit=self.exit, keep=keep, ranks=ranks, parameters=self.size(ranks))


def solve(
    config: Any,
    *,
    parameters: int | None = None,
    memory_bytes: int | None = None,
    bytes_per_parameter: float = 2,
    latency_s: float | None = None,
    profile: Profile | None = None,
    exits: Collection[int] | None = None,
    keep_max: Mapping[int, float] | None = None,
    spectra: Spectra | None = None,
) -> Plan:
    """The largest member within exactly one budget; the full model where that fits.

    Args:
        config: of the backbone.
        parameters: P*, embeddings, head and vision parts included.
        memory_bytes: of the weights, at ``bytes_per_parameter`` (2 for bfloat16).
        latency_s: seconds per token by ``profile``; ranks are floored and not filled up.
        exits: exits that have a branch; all of 1..L-1 by default.
        keep_max: by exit, the share its branch stores; 1 where an exit is not named.
        spectra: spend what the floored ranks leave on the largest sigma^2 per parameter, not on the largest linear.

    Returns:
        A plan with P <= P*, and P* - P below the cheapest rank of the block, but for budgets between two exits that
        no branch reaches (see above). It grows with P* wherever two budgets differ by at least that cheapest rank.

    Raises:
        BudgetError: the budget is below the smallest member, which the message names.
        InputError: not exactly one budget, a budget that is no positive number, or exits that the model lacks.
    """
    _one_budget(parameters=parameters, memory_bytes=memory_bytes, latency_s=latency_s)
    choices = _exits(config, exits, keep_max or {})
    if latency_s is not None:
        if profile is None:
            raise InputError(f"latency_s={latency_s} needs profile=: measure one with solver.measure(family, ...).")
        return _within_time(config, choices, latency_s, profile)
    if memory_bytes is not None:
        if not (isfinite(bytes_per_parameter) and bytes_per_parameter > 0):
            raise InputError(
                f"bytes_per_parameter={bytes_per_parameter} is not usable; bfloat16 takes 2, int8 takes 1."
            )
        parameters = int(Fraction(memory_bytes) / Fraction(str(bytes_per_parameter)))
    assert parameters is not None
    return _within_size(config, choices, int(parameters), spectra)


def _one_budget(**budgets: float | None) -> None:
    given = {name: value for name, value in budgets.items() if value is not None}
    if len(given) != 1:
        raise InputError(f"{len(given)} budgets given: give exactly one of {', '.join(budgets)}.")
    for name, value in given.items():
        if not (isfinite(value) and value > 0):
            raise InputError(f"{name}={value} is not a budget; give a positive number.")


def _exits(config: Any, exits: Collection[int] | None, keep_max: Mapping[int, float]) -> list[_Exit]:
    depth = counts.depth(config)
    wanted = sorted(set(range(1, depth) if exits is None else exits) - {depth})
    for exit_ in (*wanted, *keep_max):
        if not 1 <= exit_ <= depth:
            raise InputError(f"exit {exit_} is not in 1..{depth}, the blocks of this model.")
    shapes, block, norms = counts.shapes(config), counts.block(config), counts.norms(config)
    fixed = counts.fixed(config)
    least = max(Fraction(m + n, m * n) for m, n in shapes.values())
    found = []
    for exit_ in wanted:
        keep = keep_max.get(exit_, 1.0)
        if keep != 1:
            for m, n in shapes.values():
                rank_of(m, n, keep)  # raises InputError where it leaves a linear without a rank
        most, bare = Fraction(str(keep)), fixed + exit_ * block
        found.append(_Exit(exit=exit_, least=least, most=most, bare=bare, norms=norms, shapes=shapes))
    return found


def _full(config: Any) -> Plan:
    return Plan(exit=counts.depth(config), keep=None, ranks={}, parameters=counts.total(config))


def _within_size(config: Any, choices: list[_Exit], budget: int, spectra: Spectra | None) -> Plan:
    full = _full(config)
    if budget >= full.parameters:
        return full
    if not choices or budget < choices[0].smallest:
        least = (
            f"exit {choices[0].exit} with {choices[0].smallest}" if choices else f"the full model, {full.parameters}"
        )
        raise BudgetError(
            f"{budget} parameters are too few: the smallest member is {least} parameters; raise the budget."
        )
    best = max((c for c in choices if c.smallest <= budget), key=lambda c: c.exit)
    share = Fraction(budget - best.bare - best.norms, sum(m * n for m, n in best.shapes.values()))
    ranks = best.ranks(share)
    _fill(best, ranks, budget - best.size(ranks), None if spectra is None else _spectrum(spectra, best))
    return best.plan(share, ranks)


def _spectrum(spectra: Spectra, best: _Exit) -> Mapping[str, Sequence[float]]:
    names = best.shapes
    if best.exit not in spectra or set(names) - set(spectra[best.exit]):
        raise InputError(f"spectra lack exit {best.exit} or one of its linears: give all of {', '.join(names)}.")
    return spectra[best.exit]


def _fill(best: _Exit, ranks: dict[str, int], left: int, spectrum: Mapping[str, Sequence[float]] | None) -> None:
    """Adds single ranks in place while they fit: by sigma^2 per parameter, else the largest linear, each in turn."""
    caps = best.ranks(best.most)
    costs = {name: m + n for name, (m, n) in best.shapes.items()}
    added = dict.fromkeys(ranks, 0)

    def worth(name: str) -> tuple[float, ...]:
        if spectrum is None:
            return (-added[name], costs[name])
        sigma = spectrum[name]
        return ((float(sigma[ranks[name]]) ** 2 / costs[name] if ranks[name] < len(sigma) else 0.0),)

    while fitting := [name for name in ranks if ranks[name] < caps[name] and costs[name] <= left]:
        name = max(fitting, key=worth)
        ranks[name] += 1
        added[name] += 1
        left -= costs[name]


def _within_time(config: Any, choices: list[_Exit], budget_s: float, profile: Profile) -> Plan:
    full = _full(config)
    if profile.latency(full.exit) <= budget_s:
        return full
    fitting = [c for c in choices if profile.latency(c.exit, float(c.least)) <= budget_s]
    if not fitting:
        smallest = choices[0] if choices else None
        least_s = (
            profile.latency(full.exit) if smallest is None else profile.latency(smallest.exit, float(smallest.least))
        )
        name = f"exit {smallest.exit}" if smallest else "the full model"
        raise BudgetError(
            f"{budget_s:.3g} s per token are too few: the smallest member, {name}, takes {least_s:.3g}; raise it."
        )
    best = max(fitting, key=lambda c: c.exit)
    left_s = budget_s - profile.latency(best.exit, 0.0)
    share = min(left_s / profile.branch_s, 1.0) if profile.branch_s > 0 else 1.0
    return best.plan(Fraction(share), best.ranks(Fraction(share)))


class Members(Protocol):
    """What `measure` needs of a family."""

    @property
    def depth(self) -> int:
        """L."""

    def member(self, member: Member, /) -> Any:
        """A transformers model."""


def measure(
    family: Members,
    *,
    exit: int,
    keep: float,
    context: int = 32,
    steps: int = 8,
    repeats: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Profile:
    """Times decode steps of one row on this node, weights where they are, and fits a `Profile`.

    Four members are timed: the bare exit 1, the full model, and the branch at ``exit`` with ``keep`` (the largest
    share it stores) and half of that. The median of ``repeats`` runs of ``steps`` tokens after ``context`` tokens, and
    one run before as warm-up, counts. Raises InputError where the family lacks one of those members.
    """
    depth = family.depth
    if not 1 <= exit < depth:
        raise InputError(f"exit {exit} has no branch to time; give one in 1..{depth - 1}.")

    def seconds(member: Member) -> float:
        return _decode_s(family.member(member), context, steps, repeats, clock)

    first, full = seconds(Member(exit=1, keep=0)), seconds(Member(exit=depth))
    block_s = max((full - first) / (depth - 1), 0.0)
    bare = first + (exit - 1) * block_s
    high, low = seconds(Member(exit=exit, keep=keep)) - bare, seconds(Member(exit=exit, keep=keep / 2)) - bare
    branch_s = max((high - low) / (keep / 2), 0.0)
    return Profile(
        fixed_s=max(first - block_s, 0.0),
        block_s=block_s,
        branch_s=branch_s,
        branch_base_s=max(high - branch_s * keep, 0.0),
    )


def _decode_s(model: Any, context: int, steps: int, repeats: int, clock: Callable[[], float]) -> float:
    import torch

    device = next(model.parameters()).device
    wait: Callable[[], Any] = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    prompt = torch.ones(1, context, dtype=torch.long, device=device)
    took = []
    with torch.inference_mode():
        for _ in range(1 + repeats):
            cache = model(input_ids=prompt, use_cache=True).past_key_values
            wait()
            start = clock()
            for _ in range(steps):
                model(input_ids=prompt[:, :1], past_key_values=cache, use_cache=True)
            wait()
            took.append((clock() - start) / steps)
    return statistics.median(took[1:])
