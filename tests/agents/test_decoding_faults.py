"""Collaborative decoding when judges die: the text goes on as if nothing had happened, or says who it is by."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import speakers
from speakers import LONG, QUESTION, Mortal, emptied, watched

from aiflow.agents.agent import Agent
from aiflow.agents.decoding.events import Decoded
from aiflow.agents.deployment import Deployment, connect
from aiflow.agents.host import LocalHost
from aiflow.clock import VirtualClock
from aiflow.collaboration.decoding import chain
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.rules import Greedy
from aiflow.collaboration.decoding.tier import Job, Plan, Tier
from aiflow.errors import AgentDiedError, DeadlineError
from aiflow.types import Message

HOME = """
nodes: {phone: device, box: edge, hub: cloud}
links:
  - {between: [device, edge], rate: 2 MB/s, rtt: 4 ms}
  - {between: [edge, cloud], rate: 20 MB/s, rtt: 8 ms}
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return speakers.folders(tmp_path_factory.mktemp("faults"))


@pytest.fixture
async def home(folders: dict[str, str]) -> AsyncIterator[Deployment]:
    """Agents whose processes can be killed, over links that take their time."""
    async with connect(HOME, local=True) as deployment:
        for name, node in {"small": "phone", "mid": "box", "big": "hub"}.items():
            agent = deployment.agent(name, node=node, model=folders[name], options=LONG)
            assert isinstance(agent.host, LocalHost)
            agent.host = Mortal(agent.host)
        yield deployment


def mortal(agent: Agent) -> Mortal:
    assert isinstance(agent.host, Mortal)
    return agent.host


def kill(agent: Agent, seconds: float | None = 0.05) -> Any:
    """Kills it, and brings it back after some time."""

    def now() -> None:
        mortal(agent).kill()
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, mortal(agent).revive)

    return now


@pytest.mark.parametrize("options", [LONG, {**LONG, "temperature": 0.7, "seed": 3}])
@pytest.mark.parametrize("victims", [["big"], ["mid"], ["mid", "big"], ["big", "mid", "big"]])
async def test_a_judge_that_dies_is_rebuilt_and_the_text_is_the_same(
    home: Deployment, victims: list[str], options: dict[str, Any]
) -> None:
    judges = [home["mid"], home["big"]]
    whole = await home["small"].speculative_decode(QUESTION, judges=judges, options=options)
    assert whole.usage.completion_tokens > 30
    hurt = {3 + 8 * i: kill(home[name]) for i, name in enumerate(victims)}
    events = home["small"].speculative_stream(QUESTION, judges=judges, options=options, deadline=30)
    found = await watched(events, hurt)
    assert (found.text, found.rebuilt) == (whole.text, len(victims))
    assert [c.agent for c in found.committed_by] == ["big"]
    await emptied(home["small"], *judges)


async def test_two_judges_that_die_at_once(home: Deployment) -> None:
    judges = [home["mid"], home["big"]]
    whole = await home["big"].ask(QUESTION)

    def both() -> None:
        kill(home["big"])()
        kill(home["mid"], 0.1)()

    events = home["small"].speculative_stream(QUESTION, judges=judges, deadline=30)
    assert (await watched(events, {5: both})).text == whole.text
    await emptied(home["small"], *judges)


@pytest.mark.parametrize("later", [0.0, 0.02, 0.03, 0.04])
async def test_a_judge_that_dies_while_another_is_opened_anew(home: Deployment, later: float) -> None:
    judges = [home["mid"], home["big"]]
    whole = await home["big"].ask(QUESTION)

    def both() -> None:
        kill(home["big"], 0.02)()
        asyncio.get_running_loop().call_later(later, kill(home["mid"], 0.02))

    events = home["small"].speculative_stream(QUESTION, judges=judges, deadline=30)
    assert (await watched(events, {5: both})).text == whole.text
    await emptied(home["small"], *judges)


def goes_on(folder: str, said: str) -> str:
    """What a model says alone after the first words of an answer."""
    from aiflow.agents.backends.transformers import loading, speaking

    speaker = speaking.speaker(loading.load(folder, device="cpu", dtype="float32", max_context=None), 1)
    ids = speaker.prompt([Message("user", QUESTION)]).ids
    there = [speakers.NAMES.index({" ": "\u0120", "\n": "\u010a"}.get(c, c)) for c in said]
    job = Job(session=1, prompt=tuple(ids), limit=400, ends=speaker.ends, vocabulary=speaker.vocabulary)
    tier = Tier(job, Greedy(law=Law(vocabulary=speaker.vocabulary)), Plan(), bottom=True, top=True, said=there)
    chain.run([chain.Station(tier=tier, engine=speaker.engine)])
    return speaker.decode([t for t in tier.answer if t not in speaker.ends])


@pytest.mark.parametrize("judges", [["mid", "big"], ["big"]])
async def test_the_tier_below_goes_on_alone_and_says_so(
    home: Deployment, folders: dict[str, str], judges: list[str]
) -> None:
    whole = await home["big"].ask(QUESTION)
    stream = home["small"].speculative_stream(
        QUESTION, judges=[home[j] for j in judges], fallback=True, patience=0.1, deadline=30
    )
    found = await watched(stream, {10: kill(home["big"], None)})
    leader = judges[-2] if len(judges) > 1 else "small"
    first, second = found.committed_by
    assert (first.start, first.agent, second.agent) == (0, "big", leader)
    assert first.stop == second.start
    assert second.stop == found.usage.completion_tokens
    assert found.text[: first.stop] == whole.text[: first.stop]
    assert found.text == goes_on(folders[leader], found.text[: first.stop])
    mortal(home["big"]).revive()
    await emptied(home["small"], home["mid"], home["big"])


async def test_without_fallback_the_loss_is_an_error(home: Deployment) -> None:
    for victim in ("big", "small"):
        stream = home["small"].speculative_stream(QUESTION, judges=[home["mid"], home["big"]], patience=0.1)
        with pytest.raises(AgentDiedError, match="killed by a test") as caught:
            await watched(stream, {4: kill(home[victim], None)})
        assert caught.value.agent == victim
        mortal(home[victim]).revive()
        await emptied(home["small"], home["mid"], home["big"])


async def test_an_edge_that_does_not_come_back_is_left_out(home: Deployment) -> None:
    whole = await home["big"].ask(QUESTION)
    stream = home["small"].speculative_stream(QUESTION, judges=[home["mid"], home["big"]], patience=0.1, deadline=30)
    found = await watched(stream, {5: kill(home["mid"], None)})
    assert found.text == whole.text
    assert [c.agent for c in found.committed_by] == ["big"]
    assert set(found.rounds) == {"small", "big"}
    mortal(home["mid"]).revive()
    await emptied(home["small"], home["mid"], home["big"])


@pytest.mark.parametrize("fallback", [True, False])
async def test_a_silent_judge_is_given_up(folders: dict[str, str], fallback: bool) -> None:
    clock = VirtualClock()
    home = connect(HOME, local=True, clock=clock)
    small = home.agent("small", node="phone", model=folders["small"], options=LONG)
    big = home.agent("big", node="hub", model=folders["big"], options=LONG)
    assert isinstance(big.host, LocalHost)
    big.host = Mortal(big.host)
    big.host.heard = 10

    async def decode() -> Decoded:
        stream = small.speculative_stream(QUESTION, judges=[big], fallback=fallback, patience=5)
        return await watched(stream, {})

    if fallback:
        found = await clock.run(decode())
        assert [c.agent for c in found.committed_by] == ["big", "small"]
        assert 15 < found.seconds < 20
    else:
        with pytest.raises(DeadlineError, match="agent 'big' was silent for 15 s") as caught:
            await clock.run(decode())
        assert caught.value.agent == "big"
    await home.aclose()
