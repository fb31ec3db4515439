"""Placement by memory and speed: hand-made cases, and the exact search beside the greedy one."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.collaboration.planning import placement
from aiflow.collaboration.planning.placement import Room, Seat, cost, place
from aiflow.errors import BudgetError

ROOMS = [
    Room(name="phone", memory=4e9, speed=1.0),
    Room(name="edge", memory=16e9, speed=4.0),
    Room(name="cloud", speed=10.0),
]


def test_the_fastest_node_with_memory() -> None:
    found = place([Seat(name="small", memory=2e9, work=1.0)], ROOMS)
    assert [(p.agent, p.node) for p in found] == [("small", "cloud")]
    assert found[0].why == "no node with memory for it is faster"


def test_links_count() -> None:
    near = Seat(name="small", memory=2e9, work=1.0, link={"cloud": 2.0, "edge": 0.1})
    assert place([near], ROOMS)[0].node == "edge"


def test_where_it_may_be() -> None:
    only = Seat(name="camera", memory=2e9, work=1.0, nodes=("phone",))
    assert (place([only], ROOMS)[0].node, place([only], ROOMS)[0].why) == (
        "phone",
        "the only node where it may be and fits",
    )


def test_what_does_not_fit() -> None:
    with pytest.raises(BudgetError, match=r"'big' needs 9.0 GB and its largest node has 4.0 GB"):
        place([Seat(name="big", memory=9e9, work=1.0, nodes=("phone",))], ROOMS)
    pair = [Seat(name=n, memory=3e9, work=1.0, nodes=("phone",)) for n in "ab"]
    with pytest.raises(BudgetError, match=r"2 agents of 6\.0 GB together"):
        place(pair, ROOMS)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.floats(0.1, 5), st.floats(0.1, 1)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(8, 40), st.floats(0.5, 8)), min_size=2, max_size=3),
)
def test_nothing_is_better(agents: list[tuple[int, float, float]], nodes: list[tuple[int, float]]) -> None:
    seats = [Seat(name=f"a{i}", memory=m, work=w, share=s) for i, (m, w, s) in enumerate(agents)]
    rooms = {f"n{i}": Room(name=f"n{i}", memory=m, speed=v) for i, (m, v) in enumerate(nodes)}
    fitting = [
        names
        for names in itertools.product(rooms, repeat=len(seats))
        if all(sum(s.memory for s, n in zip(seats, names, strict=True) if n == r) <= rooms[r].memory for r in rooms)  # type: ignore[operator]
    ]
    if not fitting:
        with pytest.raises(BudgetError):
            place(seats, list(rooms.values()))
        return
    found = [p.node for p in place(seats, list(rooms.values()))]
    assert cost(seats, rooms, found) == pytest.approx(min(cost(seats, rooms, names) for names in fitting))


def test_many_agents_are_placed_greedily(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "EXACT", 1)
    seats = [Seat(name=f"a{i}", memory=2e9, work=1.0) for i in range(12)]
    nodes = [p.node for p in place(seats, ROOMS)]
    assert nodes.count("phone") <= 2
    assert nodes.count("edge") <= 8
