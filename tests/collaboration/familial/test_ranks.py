"""Fact 26: allocation of ranks against exhaustive search on tiny problems."""

import itertools
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.collaboration.familial.ranks import Matrix, greedy, loss, nested, params, uniform, with_dense
from aiflow.errors import BudgetError, InputError

SIZES = st.integers(1, 7)


@st.composite
def problems(draw):
    """One to three matrices with up to four components each; ties and zeros happen."""
    matrices = []
    for i in range(draw(st.integers(1, 3))):
        m, n = draw(SIZES), draw(SIZES)
        count = min(m, n, 4)
        values = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
        matrices.append(Matrix(str(i), m, n, torch.tensor(sorted(values, reverse=True)).double() / 3))
    return matrices


def choices(matrices, multiple=1, dense=False):
    """Every allocation as (parameters, ranks)."""
    options = []
    for x in matrices:
        first = min(multiple, x.full_rank)
        options.append(sorted({*range(first, x.full_rank + 1, multiple), x.full_rank}) + ["dense"] * dense)
    names = [x.name for x in matrices]
    every = [dict(zip(names, ranks, strict=True)) for ranks in itertools.product(*options)]
    return [(params(matrices, ranks), ranks) for ranks in every]


def prefixes(matrices, weight, multiple):
    """Every greedy prefix, by budget from the smallest to the full allocation."""
    costs = [cost for cost, _ in choices(matrices, multiple)]
    budgets = range(min(costs), max(costs) + 2)
    return {b: greedy(matrices, b, weight=weight, multiple=multiple, fill=False) for b in budgets}


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from(["relative", "raw"]), st.integers(1, 3))
def test_greedy_is_the_optimum_at_breakpoints_and_near_it_elsewhere(matrices, weight, multiple):
    every = [(cost, loss(matrices, ranks, weight=weight)) for cost, ranks in choices(matrices, multiple)]
    found = prefixes(matrices, weight, multiple)
    at_next = {}
    for budget in reversed(found):  # the loss at the next breakpoint above each budget
        ranks = found[budget]
        at_next[budget] = at_next.get(budget + 1)
        if budget + 1 in found and found[budget + 1] != ranks:
            at_next[budget] = loss(matrices, found[budget + 1], weight=weight)
    for budget, ranks in found.items():
        best = min(value for cost, value in every if cost <= budget)
        mine = loss(matrices, ranks, weight=weight)
        spent = params(matrices, ranks)
        assert spent <= budget
        if spent == budget:
            assert mine == pytest.approx(best, abs=1e-12)
        refused = mine - (mine if at_next[budget] is None else at_next[budget])
        assert mine - best <= refused + 1e-12
        filled = greedy(matrices, budget, weight=weight, multiple=multiple)
        assert params(matrices, filled) <= budget
        assert best - 1e-12 <= loss(matrices, filled, weight=weight) <= mine + 1e-12
        assert all(filled[name] >= rank for name, rank in ranks.items())


@settings(max_examples=40, deadline=None)
@given(problems(), st.integers(1, 3))
def test_members_are_nested(matrices, multiple):
    found = prefixes(matrices, "relative", multiple)
    members = nested(matrices, list(found), multiple=multiple)
    assert members[:-1] == list(found.values())[:-1]
    assert members[-1] == greedy(matrices, max(found), multiple=multiple)
    for small, large in itertools.pairwise(members):
        assert all(small[name] <= large[name] for name in small)


def test_filled_allocations_need_not_be_nested():
    """Control: why `nested` fills only the largest member."""
    big, small = Matrix("big", 9, 2, torch.tensor([9.0, 8.0])), Matrix("small", 2, 2, torch.tensor([2.0, 0.5]))
    few, many = (greedy([big, small], b, weight="raw") for b in (15 + 10, 15 + 11))
    assert (few, many) == ({"big": 1, "small": 2}, {"big": 2, "small": 1})
    assert nested([big, small], [25, 26], weight="raw") == [{"big": 1, "small": 1}, many]


@settings(max_examples=60, deadline=None)
@given(problems())
def test_dense_matrices_enter_where_they_pay(matrices):
    every = [(cost, loss(matrices, ranks)) for cost, ranks in choices(matrices, dense=True)]
    everything = sum(x.m * x.n for x in matrices)
    for budget in range(everything + 1):
        try:
            ranks = with_dense(matrices, budget)
        except BudgetError:
            assert all(cost > budget for cost, _ in every)
            continue
        spent, mine = params(matrices, ranks), loss(matrices, ranks)
        assert spent <= budget
        best = min(value for cost, value in every if cost <= budget)
        assert mine >= best - 1e-12
        if len(matrices) == 1:  # one matrix: components alone are exact, and dense when it fits and helps
            assert mine == pytest.approx(best, abs=1e-12)
    assert loss(matrices, ranks) == pytest.approx(0, abs=1e-12)  # all dense fits


def test_dense_is_the_optimum_at_the_breakpoints_of_the_hull():
    g = torch.Generator().manual_seed(0)
    shapes = {"a": (6, 5), "b": (4, 7), "c": (5, 5)}
    draw = {k: torch.rand(min(s), generator=g).sort(descending=True).values for k, s in shapes.items()}
    matrices = [Matrix(name, *shape, draw[name]) for name, shape in shapes.items()]
    every = [(cost, loss(matrices, ranks)) for cost, ranks in choices(matrices, dense=True)]
    smallest = sum(x.cost for x in matrices)
    swept = set()
    for multiplier in torch.logspace(-4, 1, 400).tolist():  # the Lagrangian sweep, by exhaustion
        swept.add(min(every, key=lambda e: e[1] + multiplier * e[0]))
    assert len(swept) > 4
    for cost, value in swept:
        if cost >= smallest:
            assert loss(matrices, with_dense(matrices, cost)) == pytest.approx(value, abs=1e-6)


def test_relative_weights_ignore_the_scale_of_a_layer():
    sigma = torch.tensor([4.0, 2.0, 1.0])
    quiet, loud = Matrix("quiet", 3, 3, sigma), Matrix("loud", 3, 3, sigma * 1e3)
    assert greedy([quiet, loud], 24) == {"quiet": 2, "loud": 2}
    assert greedy([quiet, loud], 24, weight="raw") == {"quiet": 1, "loud": 3}


def test_uniform_is_the_rule_of_the_paper():
    square, wide = Matrix("q", 4096, 4096, torch.ones(4096)), Matrix("up", 11008, 4096, torch.ones(4096))
    assert uniform([square, wide], 0.75) == {"q": 1536, "up": 2238}
    assert uniform([square, wide], 1) == {"q": 2048, "up": 2985}


def test_greedy_beats_uniform_at_its_own_count():
    g = torch.Generator().manual_seed(0)
    decays = (0.5, 0.8, 0.99)
    matrices = [
        Matrix(str(d), 40, 30, (torch.rand(30, generator=g) * d ** torch.arange(30)).sort(descending=True).values)
        for d in decays
    ]
    even = uniform(matrices, 0.5)
    assert loss(matrices, greedy(matrices, params(matrices, even))) < 0.8 * loss(matrices, even)


def test_a_zero_matrix_gets_the_least():
    matrices = [Matrix("zero", 8, 8, torch.zeros(8)), Matrix("one", 8, 8, torch.ones(8))]
    assert greedy(matrices, 10**6, least=2) == {"zero": 2, "one": 8}
    assert greedy(matrices, 10**6, least=2, multiple=3) == {"zero": 3, "one": 8}


def test_what_cannot_be_allocated_is_named():
    matrices = [Matrix("a", 4, 3, torch.ones(3)), Matrix("b", 2, 2, torch.ones(2))]
    for allocate in (greedy, with_dense):
        with pytest.raises(BudgetError, match="10 parameters is below the smallest allocation, 11"):
            allocate(matrices, 10)
        assert params(matrices, allocate(matrices, 11)) == 11
    with pytest.raises(InputError, match="multiple=0"):
        greedy(matrices, 100, multiple=0)
    with pytest.raises(InputError, match="'fisher'"):
        greedy(matrices, 100, weight="fisher")
    with pytest.raises(InputError, match="name"):
        greedy([matrices[0], matrices[0]], 100)
    with pytest.raises(InputError, match="ascend"):
        nested(matrices, [50, 20])
    for bad in (torch.ones(4), torch.tensor([1.0, 2.0]), torch.tensor([1.0, torch.nan]), torch.tensor([1.0, -1.0])):
        with pytest.raises(InputError, match="bad"):
            Matrix("bad", 3, 3, bad)


def test_a_model_of_seven_billion_parameters_takes_about_a_second():
    g = torch.Generator().manual_seed(0)
    shapes = [(4096, 4096)] * 4 + [(11008, 4096)] * 2 + [(4096, 11008)]
    spectra = torch.rand(32, 7, 4096, generator=g).sort(descending=True).values
    matrices = [Matrix(f"{b}.{i}", *s, spectra[b, i]) for b in range(32) for i, s in enumerate(shapes)]
    budget = sum(x.m * x.n for x in matrices) // 2
    start = time.process_time()
    ranks = greedy(matrices, budget)
    assert time.process_time() - start < 3
    assert 0 <= budget - params(matrices, ranks) < 4096 + 4096
