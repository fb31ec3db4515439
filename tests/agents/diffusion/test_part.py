"""An agent's side: results are held, bounded, idempotent; calls take the node's pace; who it is; damaged bytes."""

import asyncio
from typing import Any

import numpy as np
import pytest
import toys

from aiflow import codec
from aiflow.agents.agent import Agent
from aiflow.agents.backends.scripted import ScriptedBackend
from aiflow.agents.deployment import Deployment
from aiflow.agents.diffusion import wire
from aiflow.agents.diffusion.crew import card
from aiflow.agents.diffusion.pace import Pace
from aiflow.agents.diffusion.store import Result, Store
from aiflow.agents.host import LocalHost
from aiflow.agents.worker import Worker
from aiflow.clock import VirtualClock
from aiflow.diffusion.messages import encode
from aiflow.diffusion.motion.party import Compose
from aiflow.errors import ChecksumError, InputError, MessageError


def compose(request: str = "r", **fields: Any) -> bytes:
    said = {"prompt": "two meet", "kinds": ["solo"], "starts": [0], "frames": 4, "steps": 3} | fields
    return encode(Compose(request=request, **said))


async def do(agent: Agent, payload: bytes, inline: int = 0, **more: Any) -> wire.Done:
    asked = wire.Do(request="r", payload=payload, inline=inline, **more)
    return wire.decode(await agent.host.call(wire.PART, wire.encode(asked)), wire.Done)


async def take(agent: Agent, key: str) -> bytes | None:
    return wire.decode(await agent.host.call(wire.PART, wire.encode(wire.Take(key=key))), wire.Taken).payload


@pytest.fixture
def party() -> toys.Composer:
    return toys.Composer()


@pytest.fixture
def ins(here: Deployment, party: toys.Composer) -> Agent:
    return toys.agent(here, "ins", "phone", party, "motion", "ins")


async def test_a_result_stays_until_it_is_taken(ins: Agent) -> None:
    done = await do(ins, compose())
    assert done.payload is None
    data = await take(ins, done.key)
    assert data is not None
    assert (done.nbytes, done.digest, done.kind) == (len(data), wire.digest(data), "motion.Estimate")
    assert (await do(ins, compose(), inline=10**6)).payload == data
    await ins.host.call(wire.PART, wire.encode(wire.Drop(keys=[done.key])))
    assert await take(ins, done.key) is None


async def test_the_same_message_is_worked_on_once(ins: Agent, party: toys.Composer) -> None:
    done = await asyncio.gather(*(do(ins, compose()) for _ in range(5)), do(ins, compose("other")))
    assert party.calls == 2
    assert len({one.key for one in done}) == 2
    await do(ins, compose())
    assert party.calls == 2


async def test_who_goes_away_leaves_the_work_to_who_comes(
    simulated: Deployment, clock: VirtualClock, party: toys.Composer
) -> None:
    ins = toys.agent(simulated, "ins", "phone", party, "motion", "ins", pace=2.0)

    async def main() -> None:
        first = asyncio.ensure_future(do(ins, compose()))
        await clock.sleep_until(1.0)
        first.cancel()
        done = await do(ins, compose())
        assert clock.now() == 2.0
        assert done.seconds == 2.0

    await clock.run(main())
    assert party.calls == 1


async def test_a_paced_node_does_one_thing_at_a_time(simulated: Deployment, clock: VirtualClock) -> None:
    ins = toys.agent(simulated, "ins", "phone", toys.Composer(), "motion", "ins", pace={"motion.Compose": 0.5})

    async def main() -> float:
        await asyncio.gather(*(do(ins, compose(str(number))) for number in range(4)))
        return clock.now()

    assert await clock.run(main()) == 2.0


async def test_progress(ins: Agent) -> None:
    await do(ins, compose(steps=7))
    reply = await ins.host.call(wire.PART, wire.encode(wire.Watch(request="r")))
    assert wire.decode(reply, wire.Steps) == wire.Steps(step=7, steps=7)


async def test_attached_results_become_fields(ins: Agent) -> None:
    with pytest.raises(MessageError, match="'extra'"):
        await do(ins, compose(), attached={"extra": b"x"})


async def test_the_card(ins: Agent) -> None:
    await do(ins, compose())
    said = await card(ins)
    assert (said.system, said.role, said.held) == ("motion", "ins", 1)
    assert said.held_bytes > 0
    assert set(said.about) == {"aiflow", "torch", "diffusers"}
    assert (await card(ins)).life == said.life


async def test_damaged_and_foreign_messages(ins: Agent, party: toys.Composer) -> None:
    asked = bytearray(wire.encode(wire.Do(request="r", payload=compose(), inline=0)))
    asked[-1] ^= 1
    with pytest.raises(ChecksumError):
        wire.decode(await ins.host.call(wire.PART, bytes(asked)), wire.Done)
    with pytest.raises(MessageError, match=r"expected motion\.Compose or motion\.Refined"):
        await do(ins, codec.encode("depth.Picture"))
    with pytest.raises(MessageError, match="reads no"):
        wire.decode(await ins.host.call(wire.PART, codec.encode("tofc-card")), wire.Done)
    assert party.calls == 1
    assert (await card(ins)).held == 0


async def test_errors_are_not_kept(ins: Agent, party: toys.Composer) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match="empty"):
            await do(ins, compose(prompt=" "))
    assert party.calls == 2


async def test_an_agent_of_words_has_no_party(here: Deployment) -> None:
    talker = toys.place(here, "talker", "hub", LocalHost(Worker(ScriptedBackend("scripted:echo"))))
    with pytest.raises(InputError, match="aiflow:motion#ins"):
        await do(talker, compose())


async def test_a_party_answers_no_questions(ins: Agent) -> None:
    with pytest.raises(InputError, match=r"aiflow\.graphs\.serial"):
        await ins.ask("hello")


def test_the_store_is_bounded() -> None:
    def result(nbytes: int, now: float) -> Result:
        return Result(payload=bytes(nbytes), kind="k", shapes={}, digest="", seconds=0.0, wanted=now)

    store = Store(count=3, nbytes=100, seconds=10)
    for number in range(5):
        store.put(str(number), result(10, 0.0))
    assert [key for key in "01234" if store.get(key, 0.0)] == ["2", "3", "4"]
    store.put("large", result(95, 1.0))
    assert (len(store), store.nbytes) == (1, 95)
    store.put("huge", result(500, 1.0))
    assert store.get("huge", 11.0) is not None
    assert store.get("huge", 11.1) is None
    assert (len(store), store.nbytes) == (0, 0)


@pytest.mark.parametrize("said", [-1, float("nan"), True, "fast", "x3", [1]])
def test_a_pace_that_is_none(said: Any) -> None:
    with pytest.raises(InputError, match="pace="):
        Pace(said)


def test_paces() -> None:
    assert Pace().seconds("k", 5.0) == 0.0
    assert Pace("2.5x").seconds("k", 2.0) == 5.0
    assert Pace({"k": 3, "": "2x"}).seconds("k", 1.0) == 3.0
    assert Pace({"k": 3, "": "2x"}).seconds("other", 1.0) == 2.0


def test_a_digest_names_the_bytes() -> None:
    assert wire.digest(b"a") != wire.digest(b"b")
    assert len(wire.digest(np.zeros(3).tobytes())) == 32
