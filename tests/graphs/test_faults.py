"""Whatever one, two or all agents do: an answer that says how it came about, or a clear error; never a hang."""

import asyncio
import random
import time

import pytest

from aiflow.errors import BackendError, MessageError, QuorumError
from aiflow.graphs import device_server


async def test_a_failed_device_is_marked_and_the_answer_comes(cast):
    server = cast.hub("math, code, bio")
    devices = cast.team(math=cast.DEAD, code="")
    state = await device_server(server, devices, select=3, deadline=1.0).ainvoke(cast.ask())
    assert state["merged"] == "the joint answer"
    assert state["answers"] == {"bio": "bio first"}
    errors = {r["agent"]: r["error"] for r in state["trace"] if not r["ok"]}
    assert errors == {"math": "AgentDiedError: its process is gone", "code": "BackendError: the answer is empty"}


async def test_a_failed_revision_keeps_the_first_answer(cast):
    def play(turns):
        return BackendError("tired") if len(turns) > 1 else "math first"

    state = await device_server(cast.hub(), cast.team(math=play)).ainvoke(cast.ask())
    assert state["finals"] == {"math": "math first", "code": "code revised"}
    assert [r["error"] for r in state["trace"] if not r["ok"]] == ["BackendError: tired"]


async def test_without_devices_the_server_answers_alone(cast):
    dead = dict.fromkeys(["math", "code"], cast.DEAD)
    server = cast.hub()
    state = await device_server(server, cast.team(**dead)).ainvoke(cast.ask())
    assert state["messages"][-1].content == "the server's own"
    assert (state["answers"], state["finals"]) == ({}, {})
    note = "fallback: the server answers alone, 0 of 2 selected devices answered, the quorum is 1"
    assert cast.notes(state, "merge") == note
    assert server.heard == "What is 2+2?"


async def test_below_the_quorum_the_server_answers_alone_and_who_answered_revises(cast):
    devices = cast.team(math=cast.DEAD)
    state = await device_server(cast.hub(), devices, quorum=2).ainvoke(cast.ask())
    assert state["merged"] == "the server's own"
    assert state["finals"] == {"code": "code revised"}


async def test_without_anybody_the_error_names_all_reasons(cast):
    dead = dict.fromkeys(["math", "code"], cast.DEAD)
    graph = device_server(cast.hub(cast.DEAD, cast.DEAD, MessageError("bad bytes")), cast.team(**dead), selector="all")
    with pytest.raises(QuorumError) as error:
        await device_server(cast.hub(alone=MessageError("bad bytes")), cast.team(**dead)).ainvoke(cast.ask())
    assert str(error.value) == (
        "0 of 2 selected devices answered, the quorum is 1, and the server failed too "
        "(math: AgentDiedError: its process is gone; code: AgentDiedError: its process is gone; "
        "hub: MessageError: bad bytes)."
    )
    assert graph


async def test_a_dead_server_leaves_the_devices_to_tfidf_and_a_vote(cast):
    server = cast.Puppet("hub", cast.DEAD)
    state = await device_server(server, cast.team()).ainvoke(cast.ask("a number and a program in Python"))
    assert state["selected"] == ["code", "math"]
    assert state["merged"] == "code first"
    assert "fallback: tfidf" in cast.notes(state, "select")
    assert "fallback: vote" in cast.notes(state, "merge")
    assert state["finals"] == {"code": "code revised", "math": "math revised"}


async def test_a_hanging_server_costs_its_deadlines(cast):
    started = time.perf_counter()
    state = await device_server(cast.Puppet("hub", delay=60), cast.team(), server_deadline=0.2).ainvoke(cast.ask())
    assert time.perf_counter() - started < 1.5
    assert state["merged"].endswith("first")


def test_a_synchronous_run_has_deadlines_too(cast):
    devices = cast.team()
    devices[0].delay, devices[0].stubborn = 60, True
    started = time.perf_counter()
    state = device_server(cast.hub(), devices, deadline=0.2).invoke(cast.ask())
    assert time.perf_counter() - started < 1.5
    assert state["finals"] == {"code": "code revised"}


async def test_grace_leaves_slow_devices_behind(cast):
    devices = cast.team()
    devices[0].delay = 60
    started = time.perf_counter()
    state = await device_server(cast.hub(), devices, quorum=1, grace=0.1).ainvoke(cast.ask())
    assert time.perf_counter() - started < 1.5
    assert set(state["answers"]) == {"code"}


@pytest.mark.parametrize("first", range(0, 100, 20))
async def test_any_mix_of_faults_ends_in_time(cast, first):
    await asyncio.gather(*(_mix(cast, seed) for seed in range(first, first + 20)))


async def _mix(cast, seed):
    chance = random.Random(seed)

    def shape(agent):
        fault = chance.choice([None, None, "dead", "hang", "stubborn", "empty", "garbage", "bytes"])
        plays = {"dead": cast.DEAD, "empty": "", "garbage": "\0\0", "bytes": lambda _: b"raw"}
        agent.play = plays.get(fault, agent.play)
        agent.delay = 60.0 if fault in ("hang", "stubborn") else 0.0
        agent.stubborn = fault == "stubborn"
        return agent

    how = {
        "select": chance.randint(1, 5),
        "merge": chance.choice(["synthesis", "vote", "best_of_n", "rank"]),
        "revise": chance.choice(["selected", "all", False]),
    }
    graph = device_server(shape(cast.hub()), [shape(d) for d in cast.team()], deadline=0.2, **how)
    started = time.perf_counter()
    try:
        state = await graph.ainvoke(cast.ask())
        assert state["messages"][-1].content.strip()
        assert set(state["finals"]) == set(state["answers"])
    except QuorumError as error:
        assert "0 of" in str(error)  # noqa: PT017 - either outcome is right
    assert time.perf_counter() - started < 4 * 0.25 + 4.0  # a busy machine; a hang would take 60 s
