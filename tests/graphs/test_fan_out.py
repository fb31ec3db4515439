import asyncio
import time

import pytest

from aiflow.errors import BackendUnavailableError, DeadlineError, MessageError, QuorumError
from aiflow.graphs import fan_out, gather


async def test_replies_come_in_order_and_in_parallel(cast):
    agents = [cast.Puppet(f"a{i}", f"says {i}", delay=0.2 - i * 0.03) for i in range(5)]
    started = time.perf_counter()
    replies = await fan_out(agents, "hello", sender="cloud", deadline=5.0)
    assert time.perf_counter() - started < 0.65  # 0.2 where nothing else runs; one after the other it were 0.7
    assert [(r.agent, r.text, r.ok) for r in replies] == [(f"a{i}", f"says {i}", True) for i in range(5)]
    assert {agent.calls[0]["sender"] for agent in agents} == {"cloud"}
    record = replies[1].record
    assert (record["step"], record["node"], record["bytes"]) == ("answer", "node-a1", {"wifi-a1": 100})
    assert (record["prompt_tokens"], record["completion_tokens"], record["seconds"]) == (1, 7, pytest.approx(0.17))
    assert abs(record["started"] - time.time()) < 5


async def test_each_agent_may_be_asked_its_own_question(cast):
    agents = [cast.Puppet("a"), cast.Puppet("b")]
    await fan_out(agents, lambda agent: f"you are {agent.name}")
    assert [agent.heard for agent in agents] == ["you are a", "you are b"]


@pytest.mark.parametrize(
    ("play", "error"),
    [
        ("", "BackendError: the answer is empty"),
        (" \n", "BackendError: the answer is empty"),
        ("\0\x01\x02 a", "BackendError: garbage"),
        ("\ufffd\ufffd\ufffd", "BackendError: garbage"),
        (lambda _: 42, "BackendError: not an answer but '42'"),
        (lambda _: None, "BackendError: not an answer"),
        (lambda _: asyncio.CancelledError(), "BackendError: the agent gave up"),
        (MessageError("wrong session"), "MessageError: wrong session"),
        (BackendUnavailableError("no route"), "BackendUnavailableError: no route"),
        (DeadlineError("late"), "DeadlineError: late"),
    ],
)
async def test_failures_are_marked(cast, play, error):
    if callable(play) and isinstance(play(()), asyncio.CancelledError):

        def give_up(_):
            raise asyncio.CancelledError

        play = give_up
    bad, good = cast.Puppet("bad", play), cast.Puppet("good", "fine")
    replies = await fan_out([bad, good], "hello")
    assert [r.ok for r in replies] == [False, True]
    assert replies[0].record["error"].startswith(error)
    assert replies[0].text == ""


async def test_bugs_are_not_hidden(cast):
    with pytest.raises(ZeroDivisionError):
        await fan_out([cast.Puppet("a", ZeroDivisionError())], "hello")


@pytest.mark.parametrize("stubborn", [False, True])
async def test_late_agents_are_left_out_and_cancelled(cast, stubborn):
    late, good = cast.Puppet("late", delay=30, stubborn=stubborn), cast.Puppet("good", "fine")
    started = time.perf_counter()
    replies = await fan_out([late, good], "hello", deadline=0.1)
    assert time.perf_counter() - started < 1
    assert [r.ok for r in replies] == [False, True]
    assert replies[0].record["error"] == "DeadlineError: no answer within 0.1 s"
    await asyncio.sleep(0)
    assert late.cancelled == 1


async def test_fewer_than_the_quorum_is_an_error_that_says_why(cast):
    agents = [cast.Puppet("a", cast.DEAD), cast.Puppet("b", ""), cast.Puppet("c")]
    assert len(await fan_out(agents, "hello", quorum=1)) == 3
    with pytest.raises(QuorumError, match=r"1 of 3 .* quorum is 2 \(a: AgentDiedError: its .*; b: BackendError"):
        await fan_out(agents, "hello", quorum=2)
    assert [r.ok for r in await gather(agents, "hello", quorum=3)] == [False, False, True]


async def test_grace_ends_the_wait_after_the_quorum(cast):
    agents = [
        cast.Puppet("slow", delay=30),
        cast.Puppet("bad", cast.DEAD),
        cast.Puppet("a"),
        cast.Puppet("b", delay=0.1),
    ]
    started = time.perf_counter()
    replies = await fan_out(agents, "hello", quorum=2, grace=0.1, deadline=20)
    assert 0.15 < time.perf_counter() - started < 2
    assert [r.ok for r in replies] == [False, False, True, True]
    assert "a quorum had answered" in replies[0].record["error"]
    assert len(await fan_out(agents[1:], "hello", quorum=2, grace=5.0)) == 3


async def test_nobody_to_ask():
    assert await gather([], "hello") == []
    with pytest.raises(QuorumError):
        await fan_out([], "hello")


async def test_cancelling_the_asker_cancels_the_agents(cast):
    agents = [cast.Puppet(f"a{i}", delay=30) for i in range(3)]
    task = asyncio.create_task(fan_out(agents, "hello"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)
    assert [agent.cancelled for agent in agents] == [1, 1, 1]
