"""Collaborative decoding as a way to answer: a device drafts, an edge or the cloud judges, or both. Costs only.

Seconds per token come from the mode's own cost model: `decoding.forecast` for streamed drafts, `decoding.costs.nested`
for three tiers. Forecasts are scale-free, so they are looked up on a logarithmic grid of ratios, 10 % apart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from math import exp, log
from typing import Any

from aiflow.collaboration.decoding import forecast
from aiflow.collaboration.decoding.costs import Profile, alone, nested
from aiflow.collaboration.decoding.forecast import CHOICES, OFF, WORTH, Choice
from aiflow.collaboration.planning.alone import blind, crossing, unreachable
from aiflow.collaboration.planning.option import Option
from aiflow.collaboration.planning.prior import quality
from aiflow.collaboration.planning.state import Party, State
from aiflow.collaboration.planning.task import Task

FRAME_UP, FRAME_DOWN = 16, 32
"""Bytes of a token on the way up, and of a verdict."""
LENGTHS = (2, 4, 8, 16)
"""Draft lengths of the middle tier."""
_GRID, _ALPHA, _TOKENS = 0.1, 0.04, 200


def two_tiers(task: Task, state: State) -> Iterator[Option]:
    """The device drafts for each server that speaks its tokens (an acceptance is known)."""
    device = state.device
    for judge in state.servers:
        alpha = state.acceptance.get((device.name, judge.name))
        if alpha is None:
            continue
        pace, choice = rhythm(alpha, profile(state, device, judge))
        yield _option("draft_verify", task, state, (judge,), pace, {}, {"ahead": choice.ahead, "eager": choice.eager})


def three_tiers(task: Task, state: State) -> Iterator[Option]:
    """The device drafts, the first server judges and drafts for the last one."""
    if len(state.servers) < 2:
        return
    device, middle, top = state.device, state.servers[0], state.servers[-1]
    low, high = state.acceptance.get((device.name, middle.name)), state.acceptance.get((middle.name, top.name))
    if low is None or high is None:
        return
    for length in LENGTHS:
        pace, choice = chain(state, length, low, high)
        tuned = {"ahead": choice.ahead, "eager": choice.eager}
        yield _option("draft_verify_3", task, state, (middle, top), pace, {"length": length}, tuned)


def chain(state: State, length: int, low: float, high: float) -> tuple[float, Choice]:
    """Seconds per token of three tiers whose middle one drafts ``length`` tokens for the top, and the device's plan."""
    device, middle, top = state.device, state.servers[0], state.servers[-1]
    below, choice = rhythm(low, profile(state, device, middle))
    return nested(high, length, below, profile(state, middle, top)), choice


def profile(state: State, drafter: Party, judge: Party) -> Profile:
    """Two neighbouring tiers as the cost model sees them."""
    return Profile(
        draft=drafter.load * drafter.speeds.decode,
        verify=judge.load * judge.speeds.decode,
        per_row=judge.load * judge.speeds.per_row,
        up=state.send(drafter, judge, FRAME_UP),
        down=state.send(judge, drafter, FRAME_DOWN),
    )


def rhythm(alpha: float, found: Profile) -> tuple[float, Choice]:
    """Seconds per token of the best way to draft ahead, and that way; `OFF` where the judge alone is as fast."""
    unit = found.verify
    waits = (found.up + found.down) / unit
    ratio, choice = _best(
        round(_ALPHA * round(alpha / _ALPHA), 2), *map(_bin, (found.draft / unit, found.per_row / unit, waits))
    )
    return ratio * unit, choice


def _option(
    mode: str,
    task: Task,
    state: State,
    judges: tuple[Party, ...],
    pace: float,
    fixed: Mapping[str, Any],
    tuned: Mapping[str, Any],
) -> Option:
    device, images = state.device, len(task.image_bytes)
    ready = device.reading(task.prompt_tokens, images)
    used: dict[str, float] = {}
    below, why = device, ""
    for judge in judges:
        read = state.send(device, judge, task.prompt_bytes) + judge.reading(task.prompt_tokens, images)
        ready = max(ready, read)
        frames = FRAME_UP * task.output_tokens, FRAME_DOWN * task.output_tokens
        parts = crossing(state, below, judge, *frames), crossing(state, device, judge, task.prompt_bytes)
        for name, size in (item for part in parts for item in part.items()):
            used[name] = used.get(name, 0.0) + size
        why = why or unreachable(state, below, judge)
        below = judge
    return Option(
        mode=mode,
        parties=(device.name, *(judge.name for judge in judges)),
        parameters=fixed,
        tuned=tuned,
        seconds=ready + task.output_tokens * pace + state.send(judges[-1], device, FRAME_DOWN),
        bytes=used,
        quality=quality(judges[-1], state),
        exact=judges[-1].name == state.top.name,
        why_not=why or blind(task, device, *judges),
    )


def _bin(ratio: float) -> int:
    return round(log(max(ratio, 1e-4)) / _GRID)


@lru_cache(maxsize=65536)
def _best(alpha: float, draft: int, row: int, wait: int) -> tuple[float, Choice]:
    """In units of a forward of the judge."""
    waits = exp(_GRID * wait)
    game = Profile(draft=exp(_GRID * draft), verify=1.0, per_row=exp(_GRID * row), up=waits / 2, down=waits / 2)
    costs = {choice: forecast.seconds(min(alpha, 0.98), game, choice, _TOKENS) for choice in CHOICES}
    best = min(costs, key=lambda choice: costs[choice])
    off = alone(replace(game, up=0.0, down=0.0))
    return (off, OFF) if costs[best] > (1 - WORTH) * off else (costs[best], best)
