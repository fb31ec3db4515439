"""Where to cut: the best of all partitions, by trying all of them; what does not fit is said."""

import random
from collections.abc import Iterator
from itertools import combinations, pairwise, permutations
from typing import Any

import pytest

from aiflow.collaboration.partition.cut import ASKER, EXACT, Links, Site, Sizes, Task, cut, needs
from aiflow.errors import BudgetError, InputError

MB = 1e6


def model(depth: int = 4, *, tied: bool = False, **changes: Any) -> Sizes:
    sizes = {"embed": 2 * MB, "norm": 0.0, "head": 2 * MB, "cache": 100.0, "activation": 1000}
    return Sizes(**{"blocks": (MB,) * depth, "tied": tied, **sizes, **changes})


def free(*_: Any) -> float:
    return 0.0


def far(a: str, b: str, _: int) -> float:
    return 0.005 if a and b else 0.0


def every(depth: int, sites: list[Site]) -> Iterator[list[tuple[Site, int, int]]]:
    for count in range(1, min(depth, len(sites)) + 1):
        for order in permutations(sites, count):
            for cuts in combinations(range(1, depth), count - 1):
                edges = [0, *cuts, depth]
                yield [(site, edges[i], edges[i + 1]) for i, site in enumerate(order)]


def seconds(sizes: Sizes, stages: list[tuple[Site, int, int]], links: Links, task: Task) -> float:
    """Per token of an answer, from the definition."""
    names = [ASKER, *(site.name for site, _, _ in stages), ASKER]
    total = 0.0
    for i, (a, b) in enumerate(pairwise(names)):
        inner = 0 < i < len(stages)
        each = sizes.activation if inner else 0
        total += links(a, b, 120 + each)
        if task.prompt and i < len(stages):
            total += links(a, b, 120 + (each or 4) * task.prompt) / task.answer
    for site, begin, end in stages:
        total += (end - begin) * (site.decode + site.prefill * task.prompt / task.answer)
    return total + stages[-1][0].head


@pytest.mark.parametrize("seed", range(25))
def test_it_is_the_best_of_all_partitions(seed: int) -> None:
    draw = random.Random(seed)
    depth = draw.randint(1, 5)
    sizes = model(depth, tied=draw.random() < 0.5, blocks=tuple(draw.uniform(0.5, 2) * MB for _ in range(depth)))
    sites = [
        Site(
            name=f"n{i}",
            memory=None if draw.random() < 0.3 else draw.uniform(2, 9) * MB,
            decode=draw.uniform(0.001, 0.02),
            prefill=draw.uniform(0, 0.002),
            head=draw.uniform(0, 0.01),
        )
        for i in range(draw.randint(1, 4))
    ]
    ends = [ASKER, *(site.name for site in sites)]
    speed = {(a, b): (draw.uniform(0, 0.02), draw.uniform(1e5, 1e7)) for a in ends for b in ends}

    def links(a: str, b: str, nbytes: int) -> float:
        return speed[a, b][0] + nbytes / speed[a, b][1]

    task = Task(prompt=draw.choice([0, 50]), answer=draw.choice([1, 30]), cached=draw.choice([0, 1000]))
    fits = [
        stages
        for stages in every(depth, sites)
        if all(s.memory is None or needs(sizes, a, b, task.cached) <= s.memory for s, a, b in stages)
    ]
    if not fits:
        with pytest.raises(BudgetError, match=r"too little|no cut"):
            cut(sizes, sites, links, task)
        return
    best = min(seconds(sizes, stages, links, task) for stages in fits)
    found = cut(sizes, sites, links, task)
    by = {site.name: site for site in sites}
    stages = [(by[share.name], share.begin, share.end) for share in found.shares]
    assert stages in fits
    assert found.seconds == pytest.approx(best, abs=1e-7)
    assert seconds(sizes, stages, links, task) == pytest.approx(best, abs=1e-7)


def test_a_node_that_only_costs_time_gets_nothing() -> None:
    sites = [Site(name="a", decode=0.01), Site(name="b", decode=0.01)]
    assert cut(model(), sites, far).ranges == {"a": (0, 4)}
    small = [Site(name="a", decode=0.005, memory=5 * MB), Site(name="b", decode=0.01)]
    assert {share.name: share.end - share.begin for share in cut(model(), small, far).shares} == {"a": 3, "b": 1}


def test_many_nodes_keep_their_order() -> None:
    sites = [Site(name=f"n{i}", memory=5 * MB, decode=0.01 / (i + 1)) for i in range(EXACT + 4)]
    found = cut(model(12), sites, free)
    assert found.shares[0].begin == 0
    assert found.shares[-1].end == 12
    places = [int(share.name[1:]) for share in found.shares]
    assert places == sorted(places)
    assert all(share.nbytes <= 5 * MB for share in found.shares)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(BudgetError, match=r"needs 8\.0 MB .* have 6\.0 MB .*: 2\.0 MB too little"):
        cut(model(), [Site(name="a", memory=3 * MB), Site(name="b", memory=3 * MB)], free)
    with pytest.raises(BudgetError, match=r"embeddings and the first block need 3\.0 MB .* 'n0', .* 500\.0 KB too"):
        cut(model(), [Site(name=f"n{i}", memory=2.5 * MB) for i in range(9)], free)
    thick = model(3, blocks=(3 * MB,) * 3, embed=0, head=0)
    with pytest.raises(BudgetError, match="no cut between its 3 blocks fits"):
        cut(thick, [Site(name="a", memory=5 * MB), Site(name="b", memory=5 * MB)], free)
    with pytest.raises(BudgetError, match="too little"):
        cut(model(cache=1e5), [Site(name="a", memory=9 * MB)], free, Task(cached=100))
    with pytest.raises(InputError, match="different names"):
        cut(model(), [Site(name="a"), Site(name="a")], free)


def test_it_explains_itself() -> None:
    sites = [Site(name="phone", decode=0.02, memory=5 * MB), Site(name="watch", decode=0.04, memory=5.5 * MB)]
    found = cut(model(), sites, lambda a, b, n: n / 1e6 if a != b else 0.0, Task(cached=10))
    text = found.table()
    assert "phone  0..1" in text or "phone  0..2" in text or "phone  2..3" in text or "phone  1..3" in text
    assert text.splitlines()[-1].endswith("ms per token")
    assert len(text.splitlines()) == 4
