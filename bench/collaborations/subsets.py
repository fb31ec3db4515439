"""Fewer agents: Table V (how many) and Table VI (without each, only each) on a board, as Results. One fixed method.

Nothing is chosen here: for every subset of the members the same method is fitted on one half of the questions and picks
on the other, in both directions. A single member is itself.
"""

from collections.abc import Callable

import numpy as np

from aiflow.bench import stats
from aiflow.bench.collaborations.board import Board
from aiflow.bench.collaborations.methods import Method, Ranker
from aiflow.bench.collaborations.protocol import crossfitted
from aiflow.bench.results import Ablated, Results, Row, Size
from aiflow.bench.stats import Floats

Value = Callable[[frozenset[int]], Floats]
METHOD = Ranker(0.1)


def subsets(
    board: Board, method: Method = METHOD, seed: int = 0, *, curve: bool = True, ablation: bool = True
) -> Results:
    """Curve, ablation, and the bounds: each member alone, best single in hindsight, oracle; all with intervals."""
    value, count = _cached(board, method, seed), len(board.members)
    everyone = frozenset(range(count))
    alone = [_row(name, "alone", value(frozenset({m})), seed) for m, name in enumerate(board.members)]
    best = board.best_single()
    rows = [
        *alone,
        _row(f"all {count}: {method.name}", "collaboration", value(everyone), seed, "merged"),
        _row(f"best single ({board.members[best]})", "bounds", value(frozenset({best})), seed, "best_single"),
        _row("oracle", "bounds", board.contributions(board.oracle()), seed, "oracle"),
    ]
    return Results(
        title=f"Collaboration of recorded agents, {board.name}",
        suite=board.name,
        questions=len(board.ids),
        best=board.best,
        unit=board.unit,
        rows=rows,
        differences={"all - best single": stats.mean(value(everyone) - value(frozenset({best})), seed)},
        curve=_curve(board, value, seed) if curve else (),
        ablation=_ablation(board, value, seed) if ablation else (),
        notes=[
            f"Every subset works by {method.name}, fitted on the half of the questions without the one asked.",
            "Number of agents: members in the order listed; mean over all circular orders beside it.",
            "The best single agent is chosen in hindsight on these very questions, which favours it.",
        ],
    )


def _cached(board: Board, method: Method, seed: int) -> Value:
    known: dict[frozenset[int], Floats] = {}

    def value(members: frozenset[int]) -> Floats:
        if members not in known:
            names = [name for m, name in enumerate(board.members) if m in members]
            part = board.only(names)
            who_Q = crossfitted(part, method, seed) if len(names) > 1 else part.alone(0)
            known[members] = part.contributions(who_Q)
        return known[members]

    return value


def _curve(board: Board, value: Value, seed: int) -> list[Size]:
    count, sizes = len(board.members), []
    for size in range(1, count + 1):
        orders = [value(frozenset((start + step) % count for step in range(size))) for start in range(count)]
        mean: Floats = np.mean(orders, axis=0)
        members = board.members[:size]
        score = stats.mean(orders[0], seed)
        sizes.append(Size(agents=size, members=members, score=score, mean=stats.mean(mean, seed)))
    return sizes


def _ablation(board: Board, value: Value, seed: int) -> list[Ablated]:
    everyone = frozenset(range(len(board.members)))
    parts = {"all": everyone}
    parts |= {f"w/o {name}": everyone - {m} for m, name in enumerate(board.members)}
    parts |= {f"only {name}": frozenset({m}) for m, name in enumerate(board.members)}
    return [
        Ablated(
            name=name,
            members=tuple(board.members[m] for m in sorted(members)),
            score=stats.mean(value(members), seed),
            difference=stats.mean(value(members) - value(everyone), seed),
        )
        for name, members in parts.items()
    ]


def _row(name: str, group: str, c_U: Floats, seed: int, key: str = "") -> Row:
    score = stats.mean(c_U, seed)
    return Row(name=name, group=group, turns=(score.value,), score=score, key=key)
