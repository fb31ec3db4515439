"""Collaborative decoding as one call: arguments are checked, the session runs, events come out, all is closed again."""

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiflow.agents.deadline import Deadline
from aiflow.agents.decoding import wire
from aiflow.agents.decoding.events import Decoded, Event, Final, Provisional
from aiflow.agents.decoding.run import Asked, Run
from aiflow.agents.options import merge
from aiflow.errors import InputError
from aiflow.types import Options, Usage, conversation

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent

MOST_JUDGES = 2
PATIENCE = 60.0
"""Seconds that a judge whose process died may take to come back."""


async def decode(
    device: "Agent",
    messages: Any,
    judges: Sequence["Agent"],
    *,
    options: Options | Mapping[str, Any] | None = None,
    mode: str | None = None,
    sender: str | None = None,
    deadline: float | None = None,
    fallback: bool = False,
    patience: float = PATIENCE,
    provisional: bool = True,
) -> AsyncGenerator[Event]:
    """See `Agent.speculative_stream`."""
    agents = check(device, judges)
    asked = _asked(device, messages, options, mode, sender, fallback, patience, provisional)
    for agent in agents:
        if agent.host.starting:
            await agent.ready()
    clock = device.network.clock
    limit, started = Deadline(deadline, clock, device.name), clock.now()
    run, texts = Run(agents, asked), list[str]()
    run.start()
    answer: Decoded | None = None
    try:
        while answer is None:
            async with limit.limit():
                news = await run.next()
                answer = await _answer(run, news, started) if news.finish else None
            if news.final:
                texts.append(news.final)
                yield Final(text=news.final)
            for text, place, tier in news.provisional:
                yield Provisional(text=text, place=place, tier=tier)
    finally:
        await run.close()
    yield device.record(replace(answer, text="".join(texts), agent=device.name))


def check(device: "Agent", judges: Sequence["Agent"]) -> list["Agent"]:
    """The agents of a session, the device first. Raises InputError."""
    agents = [device, *judges]
    if not 1 <= len(judges) <= MOST_JUDGES:
        raise InputError(f"{len(judges)} judges are not usable; give one agent, or two: the edge, then the cloud.")
    if len({id(agent) for agent in agents}) < len(agents):
        raise InputError(f"an agent cannot judge itself: {', '.join(a.name for a in agents)}; give different agents.")
    if any(agent.network is not device.network for agent in agents):
        raise InputError("the agents belong to different deployments; connect them in one topology.")
    return agents


def _asked(
    device: "Agent",
    messages: Any,
    options: Options | Mapping[str, Any] | None,
    mode: str | None,
    sender: str | None,
    fallback: bool,
    patience: float,
    provisional: bool,
) -> Asked:
    merged = merge(device.options, options)
    natural = "shared" if merged.temperature else "greedy"
    if mode not in (None, *wire.MODES):
        raise InputError(f"mode {mode!r} is not known; use one of {', '.join(wire.MODES)}, or None for {natural!r}.")
    if mode is not None and (mode == "greedy") != (merged.temperature == 0):
        raise InputError(
            f"mode {mode!r} at temperature {merged.temperature:g}: 'greedy' is for 0, the others are for above."
        )
    if merged.top_logprobs:
        raise InputError(
            f"top_logprobs={merged.top_logprobs}: a text that several models write has no probabilities of one model; "
            "leave it at 0, or ask the last judge alone."
        )
    if isinstance(patience, bool) or not isinstance(patience, int | float) or not patience >= 0:
        raise InputError(f"patience={patience!r} is not usable; give seconds, such as 10.")
    source = device.node if sender is None else sender
    device.network.route(source, device.node)  # raises TopologyError
    return Asked(
        messages=conversation(messages),
        options=merged,
        mode=mode or natural,
        seed=secrets.randbits(63) if merged.seed is None else merged.seed,
        sender=source,
        provisional=provisional,
        patience=patience,
        fallback=fallback,
    )


async def _answer(run: Run, news: wire.News, started: float) -> Decoded:
    clock = run.legs[0].agent.network.clock
    seconds = clock.now() - started
    states = await run.report()
    rounds = {leg.agent.name: state.rounds for leg, state in zip(run.legs, states, strict=True) if state}
    judge = states[1] if len(states) > 1 else None
    assert news.finish is not None
    return Decoded(
        text="",
        finish=news.finish,
        usage=Usage(requests=1, prompt_tokens=len(run.prompt), completion_tokens=news.tokens, seconds=seconds),
        seconds=seconds,
        bytes=run.crossed,
        committed_by=run.committed(news.tokens),
        accepted=judge.accepted if judge else 0,
        judged=judge.judged if judge else 0,
        rounds=rounds,
        rebuilt=run.rebuilt,
    )
