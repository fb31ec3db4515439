"""Collaborative decoding between agents of one process: the judge's text, bytes, events, limits, and no remains."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import speakers
from speakers import LONG, QUESTION, emptied, kept

from aiflow.agents.agent import Agent
from aiflow.agents.decoding.events import Decoded, Final, Provisional
from aiflow.agents.decoding.tool import decode_with
from aiflow.agents.deployment import Deployment, connect
from aiflow.agents.host import LocalHost
from aiflow.clock import VirtualClock
from aiflow.collaboration.decoding import chain
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.rules import rule
from aiflow.collaboration.decoding.tier import Job, Plan, Tier
from aiflow.errors import DeadlineError, InputError, TopologyError
from aiflow.types import Message, Options

HOME = """
nodes: {phone: device, laptop: device, box: edge, hub: cloud}
links:
  - {between: [device, edge], rate: 2 MB/s, rtt: 4 ms}
  - {between: [edge, cloud], rate: 20 MB/s, rtt: 8 ms}
"""
QUESTIONS = ("one", "two plus two", "a longer question, with a comma", "x")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return speakers.folders(tmp_path_factory.mktemp("decoding"))


@pytest.fixture
async def home(folders: dict[str, str]) -> AsyncIterator[Deployment]:
    """Agents by the names of their folders, on real time; links take none."""
    async with connect(HOME, local=True, emulate=False) as deployment:
        for name, node in {"small": "phone", "bad": "laptop", "mid": "box", "big": "hub"}.items():
            deployment.agent(name, node=node, model=folders[name], options={"max_tokens": 24})
        yield deployment


def one_tier(folder: str, question: str, options: Options) -> str:
    """What a model says alone by the noise that tiers share."""
    from aiflow.agents.backends.transformers import loading, speaking

    speaker = speaking.speaker(loading.load(folder, device="cpu", dtype="float32", max_context=None), 1)
    ids = speaker.prompt([Message("user", question)]).ids
    job = Job(session=1, prompt=tuple(ids), limit=options.max_tokens, ends=speaker.ends, vocabulary=speaker.vocabulary)
    law = Law(temperature=options.temperature, top_p=options.top_p, vocabulary=speaker.vocabulary)
    say = rule("shared", law, seed=options.seed or 0, tier=0, top=True)
    tier = Tier(job, say, Plan(), bottom=True, top=True)
    chain.run([chain.Station(tier=tier, engine=speaker.engine)])
    return speaker.decode([t for t in tier.answer if t not in speaker.ends])


@pytest.mark.parametrize("drafter", ["small", "bad"])
async def test_the_text_is_the_judges_own(home: Deployment, drafter: str) -> None:
    device, mid, big = home[drafter], home["mid"], home["big"]
    for question in QUESTIONS:
        alone = await big.ask(question)
        for judges in ([big], [mid, big]):
            found = await device.speculative_decode(question, judges=judges)
            assert (found.text, found.finish) == (alone.text, alone.finish)
            assert found.usage.completion_tokens == alone.usage.completion_tokens
            assert found.usage.prompt_tokens == alone.usage.prompt_tokens
            assert [(c.start, c.agent) for c in found.committed_by] == [(0, "big")]
            assert found.agent == drafter
            assert set(found.rounds) == {drafter, *(j.name for j in judges)}
    await emptied(device, mid, big)


async def test_shared_noise_says_what_the_judge_alone_would(home: Deployment, folders: dict[str, str]) -> None:
    options = Options(max_tokens=20, temperature=0.8, top_p=0.9, seed=5)
    alone = one_tier(folders["big"], "one", options)
    for device in ("small", "bad"):
        for judges in (["big"], ["mid", "big"]):
            found = await home[device].speculative_decode("one", judges=[home[j] for j in judges], options=options)
            assert found.text == alone
    soft = await home["small"].speculative_decode("one", judges=[home["big"]], options=options, mode="soft")
    assert soft.usage.completion_tokens > 0


async def test_the_embedded_family() -> None:
    async with connect(HOME, local=True, emulate=False) as home:
        small = home.agent("small", node="phone", model="aiflow:nano/hpcd#1")
        big = home.agent("big", node="hub", model="aiflow:nano/hpcd#4")
        for question in ("What is 12 + 30?", "Reverse the letters of stone."):
            found = await small.speculative_decode(question, judges=[big])
            assert found.text == (await big.ask(question)).text


async def test_bytes_are_what_the_links_carried(folders: dict[str, str]) -> None:
    clock = VirtualClock()
    home = connect(HOME, local=True, clock=clock)
    small = home.agent("small", node="phone", model=folders["small"], options={"max_tokens": 24})
    mid = home.agent("mid", node="box", model=folders["mid"])
    big = home.agent("big", node="hub", model=folders["big"])

    async def both() -> list[Decoded]:
        return [
            await small.speculative_decode(QUESTIONS[1], judges=[mid, big]),
            await small.speculative_decode(QUESTIONS[1], judges=[big], sender="laptop"),
        ]

    first, second = await clock.run(both())
    assert first.text == second.text
    assert set(first.bytes) == {"phone-box", "box-hub"}
    assert set(second.bytes) == {"laptop-box", "phone-box", "box-hub"}  # the question, the news; opening and frames
    totals = home.network.totals()
    for link in totals:  # what was on its way at the end is counted where it entered
        assert 0 <= first.bytes.get(link, 0) + second.bytes.get(link, 0) - totals[link] < 200
    assert small.spent.bytes == {link: first.bytes.get(link, 0) + second.bytes.get(link, 0) for link in totals}
    assert first.seconds > 0.02
    await home.aclose()


async def test_events_agree_with_the_answer(home: Deployment) -> None:
    # A long answer, so that judges that decode by themselves cannot end it before the device has drafted.
    long = home["small"].speculative_stream(QUESTION, judges=[home["mid"], home["big"]], options=LONG)
    items = [e async for e in long]
    answer = items[-1]
    assert isinstance(answer, Decoded)
    assert "".join(e.text for e in items if isinstance(e, Final)) == answer.text
    provisional = [e for e in items if isinstance(e, Provisional)]
    assert provisional
    assert all(e.text and 0 <= e.place < answer.usage.completion_tokens + 40 for e in provisional)
    assert {e.tier for e in provisional} <= {"small", "mid"}
    quiet = home["small"].speculative_stream("one", judges=[home["big"]], provisional=False)
    assert {type(e) async for e in quiet} == {Final, Decoded}


async def test_stop_strings_and_limits(home: Deployment) -> None:
    small, big = home["small"], home["big"]
    text = (await big.ask("x")).text
    for stop in (text[5:8], text[3:4], "never there"):
        options = {"stop": (stop,), "max_tokens": 16}
        alone = await big.ask("x", options=options)
        found = await small.speculative_decode("x", judges=[big], options=options)
        assert (found.text, found.finish) == (alone.text, alone.finish)
        assert found.usage.completion_tokens == alone.usage.completion_tokens
    one = await small.speculative_decode("one", judges=[big], options={"max_tokens": 1})
    assert (one.usage.completion_tokens, one.finish) == (1, "length")
    await emptied(small, big)


async def test_an_end_of_sequence_ends_the_answer(folders: dict[str, str], tmp_path: Any) -> None:
    model = speakers.llama()
    async with connect(HOME, local=True, emulate=False) as home:
        small = home.agent("small", node="phone", model=folders["small"])
        plain = home.agent("plain", node="hub", model=folders["big"])
        text = (await plain.ask("x", options={"max_tokens": 12})).text
        model.generation_config.eos_token_id = [1, speakers.NAMES.index(text[6])]
        big = home.agent("big", node="hub", model=speakers.save(tmp_path / "ends", model))
        alone = await big.ask("x")
        found = await small.speculative_decode("x", judges=[big])
        assert (found.text, found.finish, found.usage.completion_tokens) == (
            alone.text,
            "stop",
            alone.usage.completion_tokens,
        )


async def test_the_shortest_context_is_the_limit(home: Deployment, folders: dict[str, str]) -> None:
    short = home.agent("short", node="hub", model=folders["short"])
    alone = await short.ask("zzz", options={"max_tokens": 200})
    found = await home["small"].speculative_decode("zzz", judges=[short], options={"max_tokens": 200})
    assert (found.text, found.finish) == (alone.text, "length")
    assert found.usage.prompt_tokens + found.usage.completion_tokens == 64
    with pytest.raises(InputError, match="shorten the conversation"):
        await home["small"].speculative_decode("x" * 70, judges=[short])


async def test_mistakes_are_refused(home: Deployment, folders: dict[str, str]) -> None:
    small, big = home["small"], home["big"]
    other = home.agent("other", node="hub", model=folders["other"])
    script = home.agent("script", node="hub", model="scripted:echo")
    elsewhere = connect(HOME, local=True, emulate=False).agent("big", node="hub", model="scripted:echo")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"judges": [big], "mode": "quick"}, "mode 'quick' is not known"),
        ({"judges": [big], "mode": "soft"}, "mode 'soft' at temperature 0"),
        ({"judges": [big], "mode": "greedy", "options": {"temperature": 1.0}}, "'greedy' is for 0"),
        ({"judges": []}, "0 judges are not usable"),
        ({"judges": [home["mid"], home["bad"], big]}, "3 judges are not usable"),
        ({"judges": [small]}, "cannot judge itself"),
        ({"judges": [big, big]}, "cannot judge itself"),
        ({"judges": [elsewhere]}, "different deployments"),
        ({"judges": [big], "patience": -1}, "patience=-1"),
        ({"judges": [big], "options": {"top_logprobs": 2}}, "top_logprobs=2: a text that several models write"),
        ({"judges": [other]}, "tokenizers of 'small' and 'other' differ \\(vocabulary, chat template\\)"),
        ({"judges": [script]}, "gives no logits"),
    ]
    for arguments, message in wrong:
        with pytest.raises(InputError, match=message):
            await small.speculative_decode("one", **arguments)
    with pytest.raises(TopologyError):
        await small.speculative_decode("one", judges=[big], sender="fridge")
    await emptied(small, big, other)


async def test_a_deadline_and_a_cancelled_call_leave_nothing(home: Deployment) -> None:
    small, mid, big = home["small"], home["mid"], home["big"]
    await small.speculative_decode("zzz", judges=[mid, big], options={"max_tokens": 4})
    options = {"max_tokens": 400}
    with pytest.raises(DeadlineError, match="agent 'small' did not answer within"):
        await small.speculative_decode("zzz", judges=[mid, big], options=options, deadline=0.05)
    await emptied(small, mid, big)
    task = asyncio.create_task(small.speculative_decode("zzz", judges=[mid, big], options=options))
    async with asyncio.timeout(10):
        while not (kept(small) and kept(mid) and kept(big)):
            await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await emptied(small, mid, big)
    async with aclosing(small.speculative_stream("zzz", judges=[big], options=options)) as events:
        await anext(events)
    await emptied(small, mid, big)


async def test_many_sessions_share_the_judges_passes(home: Deployment) -> None:
    small, big = home["small"], home["big"]
    questions = [f"question {i}" for i in range(16)]
    alone = await asyncio.gather(*map(big.ask, questions))
    found = await asyncio.gather(*(small.speculative_decode(q, judges=[big]) for q in questions))
    assert [f.text for f in found] == [a.text for a in alone]
    await emptied(small, big)
    assert isinstance(big.host, LocalHost)
    assert big.host.worker.party.rounds < sum(f.usage.completion_tokens for f in found) / 4


async def test_a_model_that_fails_ends_its_session_only(home: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    small, big = home["small"], home["big"]
    await small.speculative_decode("warm up", judges=[big])
    assert isinstance(big.host, LocalHost)
    engine: Any = big.host.worker.party._engine
    read, length = engine._engine.read, len(speakers.tokenizer(speakers.NAMES)("x" * 50)["input_ids"])

    def broken(asked: Any) -> Any:
        if any(len(one.tokens) > length for one in asked):
            raise ZeroDivisionError("oops")
        return read(asked)

    monkeypatch.setattr(engine._engine, "read", broken)
    good = small.speculative_decode("one", judges=[big])
    bad = small.speculative_decode("x" * 60, judges=[big])
    found, error = await asyncio.gather(good, bad, return_exceptions=True)
    assert isinstance(found, Decoded)
    assert "the model failed: ZeroDivisionError: oops" in str(error)
    await emptied(small, big)


async def test_the_tool(home: Deployment) -> None:
    small, big = home["small"], home["big"]
    small.abilities.append(decode_with(home["mid"], big))
    tool = small.tools()[-1]
    assert tool.name == "decode_with_big"
    assert await tool.ainvoke({"question": "one"}) == (await big.ask("one", options={"max_tokens": 24})).text
    with pytest.raises(InputError, match="needs a judge"):
        decode_with()


def test_synchronous_callers(folders: dict[str, str]) -> None:
    with connect(HOME, local=True, emulate=False) as home:
        small = home.agent("small", node="phone", model=folders["small"], options={"max_tokens": 8})
        big = home.agent("big", node="hub", model=folders["big"], options={"max_tokens": 8})
        alone = big.ask_sync("one")
        assert small.speculative_decode_sync("one", judges=[big]).text == alone.text
        *_, last = small.speculative_stream_sync("one", judges=[big])
        assert isinstance(last, Decoded)
        assert last.text == alone.text
        assert isinstance(small, Agent)
