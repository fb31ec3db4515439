"""All ways to answer a task with their figures, and the one to take. Pure arithmetic.

Whatever meets the wish and the deadline may be taken; of these the soonest, or for "best" the soonest of
the best. A way that was taken before is kept until another is clearly sooner, so that noise changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from aiflow.collaboration.planning.alone import on_device, server_only
from aiflow.collaboration.planning.drafting import three_tiers, two_tiers
from aiflow.collaboration.planning.features import tofc
from aiflow.collaboration.planning.option import Key, Option, Plan
from aiflow.collaboration.planning.splitting import split
from aiflow.collaboration.planning.state import Party, State
from aiflow.collaboration.planning.task import Task
from aiflow.collaboration.planning.team import collaborate
from aiflow.errors import InputError
from aiflow.units import show_bytes

Maker = Callable[[Task, State], Iterator[Option]]
MAKERS: tuple[Maker, ...] = (on_device, server_only, split, two_tiers, three_tiers, tofc, collaborate)
KEEP = 0.05
"""Share by which another way must be sooner before it replaces the last one."""
CLOSE = 0.01
"""Qualities that differ by less are alike."""


def options(task: Task, state: State) -> list[Option]:
    """Every way, the soonest first, with ``why_not`` where it cannot be taken whatever the wish."""
    bad = state.slow()
    later = {o.key: o.seconds for make in MAKERS for o in make(task, bad)}
    found = [o for make in MAKERS for o in make(task, state)]
    parties = {p.name: p for p in (*state.team, *state.servers, state.device)}
    checked = [
        replace(
            o, slow=max(o.seconds, later[o.key]), why_not=o.why_not or _memory(state, [parties[n] for n in o.parties])
        )
        for o in found
    ]
    return sorted(checked, key=lambda o: o.seconds)


def choose(task: Task, state: State, *, last: Key | None = None, barred: Iterable[Key] = ()) -> Plan:
    """The plan for a task.

    Args:
        last: the key of what was taken for such tasks before; see `KEEP`.
        barred: ways that may not be taken, because they have just failed.

    Raises InputError where no way is possible at all.
    """
    out = set(barred)
    every = [wished(task, replace(o, why_not="has just failed") if o.key in out else o) for o in options(task, state)]
    fitting = [o for o in every if o.possible]
    if not fitting:
        reasons = "; ".join(f"{o.mode}: {o.why_not}" for o in every[:6])
        raise InputError(f"no way to answer fits the wish ({reasons}); lower the quality or drop 'exact'.")
    timely = [o for o in fitting if task.deadline is None or o.slow <= task.deadline]
    best = _best(task, timely or fitting, late=not timely)
    kept = next((o for o in timely if o.key == last), None)
    stays = kept is not None and kept.key != best.key and _close(task, kept, best)
    chosen = kept if stays and kept is not None else best
    marked = tuple(
        o if o.why_not or o.key == chosen.key else replace(o, why_not=_passed(task, o, chosen)) for o in every
    )
    return Plan(
        chosen=chosen, options=marked, reason=_reason(task, chosen, fitting, timely), late=not timely, kept=stays
    )


def wished(task: Task, option: Option) -> Option:
    """The option, with ``why_not`` where it does not meet the task's wish."""
    if option.why_not:
        return option
    if task.exact and not option.exact:
        return replace(option, why_not="not the top model's text")
    if not isinstance(task.quality, str) and option.quality < task.quality - 1e-9:
        return replace(option, why_not=f"quality {option.quality:.2f} is below {task.quality:g}")
    return option


def _best(task: Task, fitting: list[Option], *, late: bool) -> Option:
    if task.quality == "best" and not late:
        top = max(o.quality for o in fitting)
        fitting = [o for o in fitting if o.quality >= top * (1 - CLOSE)]
    return min(fitting, key=lambda o: o.seconds)


def _close(task: Task, kept: Option, best: Option) -> bool:
    good = task.quality != "best" or kept.quality >= best.quality * (1 - CLOSE)
    return good and kept.seconds <= best.seconds * (1 + KEEP)


def _passed(task: Task, option: Option, chosen: Option) -> str:
    """Why a way that could be taken was not."""
    if task.deadline is not None and option.slow > task.deadline:
        return f"{option.slow:.2f} s at a bad moment, the deadline is {task.deadline:g} s"
    if task.quality == "best" and option.quality < chosen.quality * (1 - CLOSE):
        return f"quality {option.quality:.2f}, the chosen has {chosen.quality:.2f}"
    return (
        f"{option.seconds / chosen.seconds:.2f} x the time" if option.seconds >= chosen.seconds else "kept the last one"
    )


def _reason(task: Task, chosen: Option, fitting: list[Option], timely: list[Option]) -> str:
    if not timely:
        return f"no way meets {task.deadline:g} s; this is the soonest of {len(fitting)}"
    wish = "the best, then the soonest" if task.quality == "best" else "the soonest"
    within = "" if task.deadline is None else f" that meet {task.deadline:g} s"
    return f"{wish} of {len(timely)} ways{within}, {chosen.seconds:.2f} s expected"


def _memory(state: State, parties: list[Party]) -> str:
    """Which node has too little memory for the models that a way needs there; empty if all have enough."""
    needs: dict[str, float] = {}
    for party in parties:
        if not party.loaded:
            needs[party.node] = needs.get(party.node, 0.0) + party.memory
    for node, need in needs.items():
        if need > state.free.get(node, float("inf")):
            return f"{node} has {show_bytes(state.free[node])} free, {show_bytes(need)} are needed"
    return ""
