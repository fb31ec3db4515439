"""Which agent on which node: by memory and speed. Exact search over few agents, greedy beyond; pure arithmetic.

What is minimised is the time of the work that each agent is expected to do (its ``share`` of all requests times its
seconds on the node), where agents on one node slow each other down. Memory is a limit, never traded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from aiflow.errors import BudgetError
from aiflow.units import show_bytes

EXACT = 20_000
"""Placements up to which all are tried."""


@dataclass(frozen=True, kw_only=True)
class Seat:
    """An agent to be placed: ``memory`` in bytes, ``work`` in seconds per request on a node of speed 1.

    ``share`` of the requests that it gets; ``nodes``: where it may go, () for anywhere; ``link``: further seconds per
    request on a node, such as those of the links to it.
    """

    name: str
    memory: float
    work: float
    share: float = 1.0
    nodes: tuple[str, ...] = ()
    link: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Room:
    """A node: free ``memory`` in bytes (None: enough), ``speed`` relative to the one that ``Seat.work`` is about."""

    name: str
    memory: float | None = None
    speed: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where an agent goes, and why there."""

    agent: str
    node: str
    why: str


def place(seats: Sequence[Seat], rooms: Sequence[Room]) -> list[Placed]:
    """The placement of least expected seconds in which everything fits. Raises BudgetError where nothing does."""
    by = {room.name: room for room in rooms}
    choices = [[r for r in rooms if (not s.nodes or r.name in s.nodes) and _room(r) >= s.memory] for s in seats]
    for seat, fitting in zip(seats, choices, strict=True):
        if not fitting:
            largest = max((_room(r) for r in rooms if not seat.nodes or r.name in seat.nodes), default=0.0)
            raise BudgetError(
                f"agent {seat.name!r} needs {show_bytes(seat.memory)} and its largest node has {show_bytes(largest)}; "
                "give a smaller model or another node."
            )
    count = 1
    for fitting in choices:
        count *= len(fitting)
    found = _exact(seats, choices) if count <= EXACT else _greedy(seats, choices)
    if found is None:
        total = show_bytes(sum(seat.memory for seat in seats))
        raise BudgetError(f"{len(seats)} agents of {total} together fit on no nodes; remove one, or add memory.")
    return [
        _explained(seat, by[name], choices[i], found) for i, (seat, name) in enumerate(zip(seats, found, strict=True))
    ]


def cost(seats: Sequence[Seat], rooms: Mapping[str, Room], names: Sequence[str]) -> float:
    """Expected seconds per request; agents that share a node wait for each other in the measure of their shares."""
    busy: dict[str, float] = {}
    for seat, name in zip(seats, names, strict=True):
        busy[name] = busy.get(name, 0.0) + seat.share
    return sum(
        s.share * (s.work / rooms[n].speed * max(1.0, busy[n]) + s.link.get(n, 0.0))
        for s, n in zip(seats, names, strict=True)
    )


def _exact(seats: Sequence[Seat], choices: Sequence[Sequence[Room]]) -> list[str] | None:
    rooms = {room.name: room for fitting in choices for room in fitting}
    best: tuple[float, list[str]] | None = None
    for chosen in product(*choices):
        names = [room.name for room in chosen]
        if _fits(seats, rooms, names):
            seconds = cost(seats, rooms, names)
            if best is None or seconds < best[0]:
                best = seconds, names
    return best[1] if best else None


def _greedy(seats: Sequence[Seat], choices: Sequence[Sequence[Room]]) -> list[str] | None:
    """The largest first, each where it adds least."""
    rooms = {room.name: room for fitting in choices for room in fitting}
    taken: dict[int, str] = {}
    for i in sorted(range(len(seats)), key=lambda i: -seats[i].memory):

        def added(room: Room, i: int = i) -> float:
            names = {**taken, i: room.name}
            return cost([seats[k] for k in names], rooms, list(names.values()))

        fitting = [r for r in choices[i] if _fits([seats[k] for k in (*taken, i)], rooms, [*taken.values(), r.name])]
        if not fitting:
            return None
        taken[i] = min(fitting, key=added).name
    return [taken[i] for i in range(len(seats))]


def _fits(seats: Sequence[Seat], rooms: Mapping[str, Room], names: Sequence[str]) -> bool:
    used: dict[str, float] = {}
    for seat, name in zip(seats, names, strict=True):
        used[name] = used.get(name, 0.0) + seat.memory
    return all(need <= _room(rooms[name]) for name, need in used.items())


def _room(room: Room) -> float:
    return float("inf") if room.memory is None else room.memory


def _explained(seat: Seat, room: Room, fitting: Sequence[Room], names: Sequence[str]) -> Placed:
    fastest = max(fitting, key=lambda r: r.speed)
    others = sum(name == room.name for name in names) - 1
    if len(fitting) == 1:
        why = "the only node where it may be and fits"
    elif room.speed == fastest.speed:
        why = "no node with memory for it is faster"
    else:
        why = f"soonest with the links to it and what else runs; {fastest.name} is faster by itself"
    return Placed(agent=seat.name, node=room.name, why=why + (f", with {others} more" if others else ""))
