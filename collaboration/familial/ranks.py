"""Ranks of many matrices under one budget of parameters: uniform, greedy by loss saved per parameter, or dense too.

Knows singular values and shapes only. The losses of different matrices are added up as if independent; what a matrix
means for the model's answers enters only by the weighting. Parameters are those of factors and dense weights: biases
and norms are counted elsewhere.

Item (matrix, i): benefit sigma_i^2, cost m + n. Inside a matrix benefits fall and the cost is constant, so a prefix of
all items sorted by benefit per cost takes no item before its predecessor. The prefix is the optimum whenever its cost
is the budget; otherwise it lacks less than the benefit of the first item refused (the relaxed problem's bound).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from aiflow.collaboration.familial.linear import rank_of
from aiflow.errors import BudgetError, InputError

Weight = Literal["relative", "raw"] | Mapping[str, float]
"""How components count: their share of the matrix's energy, sigma^2, or that share times a weight by matrix name."""
Rank = int | Literal["dense"]


@dataclass(frozen=True, eq=False)
class Matrix:
    """A weight to be factored.

    Attributes:
        name: unique among the matrices allocated together.
        m: outputs.
        n: inputs.
        sigma: singular values of the whitened weight, descending (`factor.Factors.sigma_R`).
    """

    name: str
    m: int
    n: int
    sigma: Tensor

    def __post_init__(self) -> None:
        if not 1 <= len(self.sigma) <= min(self.m, self.n):
            raise InputError(f"{self.name}: {len(self.sigma)} singular values for a {self.m} x {self.n} matrix.")
        if not bool(self.sigma.isfinite().all() and (self.sigma >= 0).all() and (self.sigma.diff() <= 0).all()):
            raise InputError(f"{self.name}: singular values must be finite, at least 0 and descending; sort them.")

    @property
    def cost(self) -> int:
        """Parameters of one component."""
        return self.m + self.n

    @property
    def full_rank(self) -> int:
        """The number of components there are."""
        return len(self.sigma)

    def benefit(self, weight: Weight) -> Tensor:
        """The loss that each component saves: sigma^2, or its (weighted) share of the sum (0 for a zero matrix)."""
        if isinstance(weight, str) and weight not in ("relative", "raw"):
            raise InputError(f"weight={weight!r} is not known; use 'relative', 'raw' or a weight for each matrix.")
        factor = 1.0 if isinstance(weight, str) else weight.get(self.name, -1.0)
        if not 0 <= factor < float("inf"):
            raise InputError(f"{self.name} has no usable weight; give a finite number of at least 0 for each matrix.")
        sigma = self.sigma.detach().double().cpu()
        if weight == "raw":
            return sigma.square()
        scaled = (sigma / sigma.max().clamp(min=torch.finfo(torch.float64).tiny)).square()
        return factor * scaled / scaled.sum().clamp(min=1.0)


def params(matrices: Sequence[Matrix], ranks: Mapping[str, Rank]) -> int:
    """Parameters of the factors (and of the matrices kept dense)."""
    return sum(x.m * x.n if ranks[x.name] == "dense" else int(ranks[x.name]) * x.cost for x in matrices)


def loss(matrices: Sequence[Matrix], ranks: Mapping[str, Rank], *, weight: Weight = "relative") -> float:
    """The sum of the losses that ``greedy`` minimises; 0 for a matrix kept dense."""
    tails = (x.benefit(weight)[int(ranks[x.name]) :].sum() for x in matrices if ranks[x.name] != "dense")
    return float(sum(tails, torch.zeros((), dtype=torch.float64)))


def uniform(matrices: Sequence[Matrix], keep: float) -> dict[str, int]:
    """The same kept share of parameters for every matrix: floor(keep m n / (m + n)) (the paper's rule).

    Raises:
        InputError: if ``keep`` is outside (0, 1] or leaves a matrix without a component.
    """
    return {x.name: min(rank_of(x.m, x.n, keep), x.full_rank) for x in matrices}


def greedy(
    matrices: Sequence[Matrix],
    budget: int,
    *,
    weight: Weight = "relative",
    multiple: int = 1,
    least: int = 1,
    fill: bool = True,
) -> dict[str, int]:
    """The ranks with the least loss for at most ``budget`` parameters.

    Takes the items in order of benefit per cost up to the first one that does not fit (the prefix). The prefixes of
    growing budgets contain each other, so they are nested members of one family. With ``fill`` what is left of the
    budget, less than the cost of that item, goes to later items that fit: never a worse allocation, but two filled
    allocations need not contain each other. For nested members use `nested`. Components without benefit are not taken.

    Args:
        matrices: with unique names.
        budget: parameters.
        weight: of a component: its share of the matrix's energy ("relative"), so that layers with large activations
            do not take everything, sigma^2 itself ("raw"), or the share times a weight by name: how much the model
            suffers from that matrix's loss, measured by whoever knows the model.
        multiple: ranks are multiples of it (or the full rank), for kernels.
        least: the smallest rank, rounded up to ``multiple``.
        fill: spend the remainder.

    Raises:
        BudgetError: below the smallest allocation.
        InputError: if ``multiple`` or ``least`` is below 1, or names repeat.
    """
    base = _smallest(matrices, multiple, least)
    left = budget - params(matrices, base)
    if left < 0:
        raise _too_small(budget, budget - left)
    owner, cost, size = _sorted_items(matrices, base, weight, multiple)
    taken = _take(owner, cost, left, fill)
    gained = torch.zeros(len(matrices), dtype=torch.int64).index_add_(0, owner[taken], size[taken])
    return {x.name: base[x.name] + int(gain) for x, gain in zip(matrices, gained, strict=True)}


def nested(
    matrices: Sequence[Matrix],
    budgets: Sequence[int],
    *,
    weight: Weight = "relative",
    multiple: int = 1,
    least: int = 1,
) -> list[dict[str, int]]:
    """Ranks for each of the ascending ``budgets``; no rank ever falls, so each member is a prefix of the next.

    All but the last are the greedy prefixes, and leave up to one item's cost of their budget unspent; the last, which
    nothing has to contain, is filled: it equals ``greedy(matrices, budgets[-1])``.

    Raises:
        BudgetError, InputError: as `greedy`; InputError if the budgets do not ascend.
    """
    if not budgets or any(a > b for a, b in pairwise(budgets)):
        raise InputError(f"budgets {list(budgets)} do not ascend; give at least one, the smallest first.")
    last = len(budgets) - 1
    return [
        greedy(matrices, budget, weight=weight, multiple=multiple, least=least, fill=i == last)
        for i, budget in enumerate(budgets)
    ]


def with_dense(
    matrices: Sequence[Matrix], budget: int, *, weight: Weight = "relative", least: int = 1
) -> dict[str, Rank]:
    """Ranks, or "dense" for a matrix that is better kept whole (cost m n, loss 0): factors pay below m n / (m + n).

    For every multiplier lambda, the allocation that minimises loss + lambda cost of each matrix lies on the lower
    convex hull of its (cost, loss) points: the components up to h*, then one step to dense. So the Lagrangian sweep
    over lambda is the greedy prefix over the hulls' steps, optimal at its breakpoints; what is left goes to steps and
    components that still fit. Not nested: a dense matrix is no prefix of factors.

    Raises:
        BudgetError: below the smallest allocation.
        InputError: if ``least`` is below 1 or names repeat.
    """
    base = _smallest(matrices, 1, least)
    ranks: dict[str, Rank] = {x.name: base[x.name] if base[x.name] * x.cost < x.m * x.n else "dense" for x in matrices}
    left = budget - params(matrices, ranks)
    if left < 0:
        raise _too_small(budget, budget - left)
    open_ = [x for x in matrices if ranks[x.name] != "dense"]
    hulls = [_hull(x, base[x.name], weight) for x in open_]
    owner, cost, _ = _by_density([b for b, _ in hulls], [c for _, c in hulls], [c for _, c in hulls])
    taken = _take(owner, cost, left, fill=True)
    left -= int(cost[taken].sum())
    steps = torch.bincount(owner[taken], minlength=len(open_)).tolist()
    for x, (_, hull), n in zip(open_, hulls, steps, strict=True):
        ranks[x.name] = "dense" if n and n == len(hull) else base[x.name] + n
    return ranks | _extend([x for x in open_ if ranks[x.name] != "dense"], ranks, left, weight)


def _extend(matrices: Sequence[Matrix], ranks: Mapping[str, Rank], left: int, weight: Weight) -> dict[str, Rank]:
    """More components for ``left`` parameters, each matrix staying cheaper than dense."""
    at = {x.name: int(ranks[x.name]) for x in matrices}
    most = [min(x.full_rank, (x.m * x.n - 1) // x.cost) for x in matrices]
    benefits = [x.benefit(weight)[at[x.name] : h] for x, h in zip(matrices, most, strict=True)]
    costs = [torch.full_like(b, x.cost) for b, x in zip(benefits, matrices, strict=True)]
    owner, cost, _ = _by_density(benefits, costs, costs)
    gained = torch.bincount(owner[_take(owner, cost, left, fill=True)], minlength=len(matrices)).tolist()
    return {x.name: at[x.name] + gain for x, gain in zip(matrices, gained, strict=True)}


def _hull(matrix: Matrix, base: int, weight: Weight) -> tuple[Tensor, Tensor]:
    """Benefit and cost of each step of the lower convex hull from rank ``base`` to dense, the last step."""
    dense = matrix.m * matrix.n
    benefit = matrix.benefit(weight)
    tail = benefit.flip(0).cumsum(0).flip(0)
    ranks = torch.arange(base, min(matrix.full_rank, (dense - 1) // matrix.cost) + 1)
    losses = torch.cat([tail, tail.new_zeros(1)])[ranks]
    turn = int((losses / (dense - ranks * matrix.cost)).argmin())  # the tangent from dense touches the curve here
    h = int(ranks[turn])
    benefits = torch.cat([benefit[base:h], losses[turn : turn + 1]])
    costs = torch.full_like(benefits, matrix.cost)
    costs[-1] = dense - h * matrix.cost
    return benefits, costs


def _smallest(matrices: Sequence[Matrix], multiple: int, least: int) -> dict[str, int]:
    if multiple < 1 or least < 1:
        raise InputError(f"multiple={multiple}, least={least}: both must be at least 1.")
    if len({x.name for x in matrices}) < len(matrices) or not matrices:
        raise InputError("ranks need at least one matrix, and a name of its own for each.")
    return {x.name: min(-(-least // multiple) * multiple, x.full_rank) for x in matrices}


def _too_small(budget: int, smallest: int) -> BudgetError:
    return BudgetError(
        f"a budget of {budget} parameters is below the smallest allocation, {smallest}; give at least that."
    )


def _sorted_items(
    matrices: Sequence[Matrix], base: Mapping[str, int], weight: Weight, multiple: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Items above ``base``, groups of ``multiple`` components: (matrix index, parameters, components), best first."""
    benefits, costs, sizes = [], [], []
    for x in matrices:
        rest = x.benefit(weight)[base[x.name] :]
        groups = -(-len(rest) // multiple)
        padded = torch.nn.functional.pad(rest, (0, groups * multiple - len(rest)))
        size = torch.full((groups,), float(multiple), dtype=torch.float64)
        size[-1:] -= len(padded) - len(rest)
        benefits.append(padded.view(groups, multiple).sum(1))
        costs.append(size * x.cost)
        sizes.append(size)
    return _by_density(benefits, costs, sizes)


def _by_density(
    benefits: Sequence[Tensor], costs: Sequence[Tensor], sizes: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Joins the items of all matrices, those with a benefit, by benefit per cost; ties keep the order given."""
    if not benefits:
        return (torch.zeros(0, dtype=torch.int64),) * 3
    # cummin: rounding must not lift an item above its predecessor
    density = torch.cat([(b / c).cummin(0).values if len(b) else b for b, c in zip(benefits, costs, strict=True)])
    owner = torch.repeat_interleave(torch.arange(len(benefits)), torch.tensor([len(b) for b in benefits]))
    order = density.argsort(descending=True, stable=True)
    order = order[density[order] > 0]
    return owner[order], torch.cat(list(costs))[order].long(), torch.cat(list(sizes))[order].long()


def _take(owner: Tensor, cost: Tensor, left: int, fill: bool) -> Tensor:
    """Indices of the items taken: the prefix that fits ``left``, then, with ``fill``, whatever fits after it.

    An item is never taken without its predecessors in the same matrix.
    """
    taken, rest = [], torch.arange(len(owner))
    while len(rest):
        spent = cost[rest].cumsum(0)
        fits = int(torch.searchsorted(spent, left, right=True))
        taken.append(rest[:fits])
        if not fill or fits == len(rest):
            break
        left -= int(spent[fits - 1]) if fits else 0
        rest = rest[fits:]
        place = torch.arange(len(rest)).masked_fill(cost[rest] <= left, len(rest))
        refused = torch.full((int(owner.max()) + 1,), len(rest)).scatter_reduce(0, owner[rest], place, "amin")
        rest = rest[torch.arange(len(rest)) < refused[owner[rest]]]
    return torch.cat(taken) if taken else rest
