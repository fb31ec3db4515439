"""The boards that can be built from recorded data, by name, and the pools of members that are looked at.

Suites and pools were fixed before any test half was looked at, but for the pools ``7B`` and ``closed``: they were added
when the tables of the others were known, with the candidates as they were.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from aiflow.bench.collaborations.board import Board
from aiflow.errors import DataError, UsageError, suggest

Builder = Callable[[Path | None], Board]
SMALL = 13.0
"""Billions of parameters that a device can hold."""
SAME = 7.0
"""Those of the most common small models."""
_CLOSED = ("gpt", "claude", "davinci", "jina-chat")


def builders() -> Mapping[str, Builder]:
    """Name -> what builds the board from a data folder."""
    from aiflow.bench.collaborations.boards import judged, reasoning, vqa

    def of_vqa(name: str) -> Builder:
        return lambda data: vqa.board(name, data)

    def of_task(name: str) -> Builder:
        return lambda data: reasoning.chain_of_thought(data, name)

    english = tuple(name for name in vqa.SUITES if name != "CCBench")
    return {
        **{name.lower(): of_vqa(name) for name in (*vqa.SUITES, "MMMU")},
        "vqa": vqa.mixed,
        "vqa-english": lambda data: vqa.mixed(data, english, "VQA, 8 suites mixed (English)"),
        "cot": reasoning.chain_of_thought,
        **{f"cot-{task}": of_task(task) for task in ("gsm8k", "math", "bbh", "mmlu")},
        "gsm8k": reasoning.grade_school,
        "alpaca-eval": judged.alpaca_eval,
        "arena-hard": judged.arena_hard,
        "mt-bench": judged.mt_bench,
    }


POOLS: Mapping[str, tuple[str, ...]] = {
    "cot": ("all", "open", "small", "7B"),
    **{f"cot-{task}": ("open",) for task in ("gsm8k", "math", "bbh", "mmlu")},
    "alpaca-eval": ("all", "small", "closed"),
    "mt-bench": ("all", "small"),
}
"""Which pools are looked at; of a suite that is not named here all members."""


def load(name: str, data: Path | None = None) -> Board:
    """The board of that name with all its members. Raises UsageError for an unknown name, DataError for bad files."""
    known = builders()
    if name not in known:
        raise UsageError(f"no collaboration of recorded agents is called {name!r}; {suggest(name, list(known))}")
    return known[name](data)


def pooled(board: Board, pool: str) -> Board:
    """The members of a pool: ``all``, ``closed`` or ``open`` weights, ``small`` (at most 13 B parameters), ``7B``.

    Raises UsageError for another pool, DataError where it has fewer than two members.
    """
    cost = dict(zip(board.members, board.costs_M, strict=True))
    shut = {member for member in board.members if member.lower().startswith(_CLOSED)}
    rules: dict[str, tuple[str, Callable[[str], bool]]] = {
        "all": ("models", lambda _: True),
        "closed": ("closed models", lambda m: m in shut),
        "open": ("open models", lambda m: m not in shut),
        "small": (f"models up to {SMALL:g}B", lambda m: m not in shut and cost[m] <= SMALL),
        "7B": ("models of 7B", lambda m: m not in shut and cost[m] == SAME),
    }
    if pool not in rules:
        raise UsageError(f"there is no pool {pool!r}; {suggest(pool, list(rules))}")
    told, belongs = rules[pool]
    kept = [member for member in board.members if belongs(member)]
    if len(kept) < 2:
        raise DataError(f"{board.name}: the pool {pool!r} has {len(kept)} members; a collaboration needs two.")
    part = board.only(kept) if len(kept) < len(board.members) else board
    return replace(part, name=f"{board.name}: {len(kept)} {told}")
