"""Agents over emulated links, in simulated time: bytes, seconds, streams, deadlines, cancellation."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment
from aiflow.clock import VirtualClock
from aiflow.errors import BackendError, DeadlineError, InputError, MessageTooLargeError, TopologyError
from aiflow.types import Answer, Delta, Image, Options

LINK = "phone-hub"


def hub(deployment: Deployment, model: str = "scripted:echo", **options: Any) -> Agent:
    return deployment.agent("hub", node="hub", model=model, **options)


async def test_an_image_of_1_mb_takes_two_seconds(simulated: Deployment, clock: VirtualClock) -> None:
    agent = hub(simulated, "scripted:a cat")
    picture = Image(b"\x89PNG\r\n\x1a\n" + bytes(1_000_000 - 8))
    question = {"role": "user", "content": ["What is it?", {"type": "image_url", "image_url": picture.url}]}
    answer = await clock.run(agent.ask([question], sender="phone"))
    assert answer.bytes[LINK] == simulated.network.totals()[LINK]
    assert answer.seconds == pytest.approx(answer.bytes[LINK] / 500_000)
    assert answer.seconds == pytest.approx(2.0, rel=0.001)


async def test_bytes_are_the_lengths_of_the_messages(simulated: Deployment, clock: VirtualClock) -> None:
    agent = hub(simulated)

    async def both() -> list[Answer]:
        asked = [agent.ask(f"question {i}", sender="phone") for i in range(20)]
        streamed = [_last(agent, f"piece by piece {i}", sender="laptop") for i in range(20)]
        return await asyncio.gather(*asked, *streamed)

    answers = await clock.run(both())
    assert [a.text for a in answers] == [f"question {i}" for i in range(20)] + [
        f"piece by piece {i}" for i in range(20)
    ]
    totals = {link: sum(a.bytes.get(link, 0) for a in answers) for link in simulated.network.totals()}
    assert totals == simulated.network.totals() == agent.spent.bytes
    assert agent.spent.answers == agent.spent.usage.requests == 40
    assert agent.spent.usage.completion_tokens == sum(a.usage.completion_tokens for a in answers)
    assert agent.spent.seconds == pytest.approx(sum(a.seconds for a in answers))
    assert len({a.bytes[LINK] for a in answers[:10]}) == 1


async def test_the_own_node_needs_no_link(simulated: Deployment, clock: VirtualClock) -> None:
    answer = await clock.run(hub(simulated, delay=0.25).ask("Hi"))
    assert (answer.bytes, answer.seconds, answer.usage.seconds) == ({}, 0.25, 0.25)
    assert (answer.agent, answer.usage.prompt_tokens) == ("hub", 1)


async def test_a_stream_is_pipelined_and_in_order(simulated: Deployment, clock: VirtualClock) -> None:
    agent = hub(simulated, token_delay=0.1)
    moments, texts = [], []

    async def listen() -> None:
        async for item in agent.stream("a b c d", sender="phone"):
            moments.append(clock.now())
            texts.append(item.text)

    await clock.run(listen())
    assert texts == ["a", " b", " c", " d", "a b c d"]
    gaps = [after - before for before, after in pairwise(moments)]
    assert gaps[:3] == pytest.approx([0.1] * 3, abs=1e-4)
    assert moments[-1] < 0.41


@pytest.mark.parametrize("stream", [False, True])
async def test_a_deadline_covers_the_model(simulated: Deployment, clock: VirtualClock, stream: bool) -> None:
    agent = hub(simulated, fail="hang")
    ask = _last if stream else Agent.ask
    with pytest.raises(DeadlineError, match=r"agent 'hub' did not answer within 1.5 s") as caught:
        await clock.run(ask(agent, "Hi", sender="phone", deadline=1.5))
    assert caught.value.agent == "hub"
    assert clock.now() == pytest.approx(1.5)
    assert (await _settled(agent)).cancelled == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_deadline_covers_the_link(simulated: Deployment, clock: VirtualClock, stream: bool) -> None:
    agent = hub(simulated)
    ask = _last if stream else Agent.ask
    with pytest.raises(DeadlineError):
        await clock.run(ask(agent, "x" * 500_000, sender="phone", deadline=0.5))
    assert clock.now() == pytest.approx(0.5)
    assert (await agent.totals()).asked == 0


async def test_a_met_deadline_leaves_no_trace(simulated: Deployment, clock: VirtualClock) -> None:
    agent = hub(simulated, delay=0.2)
    assert (await clock.run(agent.ask("Hi", deadline=0.3))).text == "Hi"
    assert (await clock.run(_last(agent, "Hi", deadline=0.3))).text == "Hi"


@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_the_task_cancels_the_worker(here: Deployment, stream: bool) -> None:
    agent = hub(here, fail="babble")
    task = asyncio.create_task((_last if stream else Agent.ask)(agent, "Hi", sender="phone"))
    await asyncio.sleep(0.05)
    assert (await agent.totals()).in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await _settled(agent)).cancelled == 1


async def test_leaving_a_stream_cancels_the_worker(here: Deployment) -> None:
    agent = hub(here, fail="babble")
    stream = agent.stream("Hi")
    assert await anext(stream) == Delta(text="blah ")
    await stream.aclose()
    assert (await _settled(agent)).cancelled == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fail", ["raise", "garbage"])
async def test_faults_are_one_error(here: Deployment, fail: str, stream: bool) -> None:
    agent = hub(here, fail=fail)
    with pytest.raises(BackendError) as caught:
        await (_last if stream else Agent.ask)(agent, "Hi", sender="phone")
    assert caught.value.agent == "hub"
    assert (await agent.totals()).errors == 1


async def test_nothing_is_sent_when_the_message_is_too_large(here: Deployment) -> None:
    agent = hub(here)
    with pytest.raises(MessageTooLargeError):
        await agent.ask("x" * 50_000_000, sender="phone")
    assert set(here.network.totals().values()) == {0}
    assert (await agent.totals()).asked == 0


async def test_options_override_the_defaults(here: Deployment) -> None:
    agent = hub(here, options={"max_tokens": 2})
    assert (await agent.ask("a b c d")).text == "a b"
    assert (await agent.ask("a b c d", options={"stop": " b"})).text == "a"
    assert (await agent.ask("a b c d", options=Options())).text == "a b c d"


def test_synchronous_wrappers(here: Deployment) -> None:
    agent = hub(here)
    assert agent.ask_sync("a b", sender="phone").text == "a b"
    assert [item.text for item in agent.stream_sync("a b")] == ["a", " b", "a b"]


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"messages": ""}, InputError, "empty"),
    ({"messages": []}, InputError, "empty"),
    ({"messages": 5}, InputError, "int"),
    ({"messages": "Hi", "sender": "fridge"}, TopologyError, "'fridge' is no node"),
    ({"messages": "Hi", "deadline": "soon"}, InputError, "deadline='soon'"),
    ({"messages": "Hi", "deadline": True}, InputError, "deadline=True"),
    ({"messages": "Hi", "options": {"temprature": 1}}, InputError, "did you mean 'temperature'"),
    ({"messages": "Hi", "options": {"stop": 3}}, InputError, "options cannot be read"),
    ({"messages": "Hi", "options": {"seed": -1}}, InputError, "seed=-1"),
    ({"messages": "Hi", "options": "hot"}, InputError, "aiflow.Options or a dict"),
    ({"messages": "Hi", "deadline": 0}, DeadlineError, "within 0 s"),
]


@pytest.mark.parametrize(("arguments", "error", "match"), BAD, ids=str)
async def test_bad_calls(here: Deployment, arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        await hub(here, delay=1).ask(**arguments)
    assert "\n" not in str(caught.value)


async def _last(agent: Agent, messages: Any, **arguments: Any) -> Answer:
    items = [item async for item in agent.stream(messages, **arguments)]
    assert isinstance(items[-1], Answer)
    assert "".join(item.text for item in items[:-1]) == items[-1].text
    return items[-1]


async def _settled(agent: Agent) -> Any:
    for _ in range(20):
        await asyncio.sleep(0)
    return await agent.totals()
