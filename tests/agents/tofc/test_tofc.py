"""Answers on compressed images between agents of one process: text, bytes, times, settings, limits, errors."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import lookers
import PIL.Image
import pytest
import speakers
import torch
from lookers import QUESTION

from aiflow import codec
from aiflow.agents import wire as replies
from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment, connect
from aiflow.agents.host import LocalHost
from aiflow.agents.tofc import wire
from aiflow.agents.tofc.events import Looked
from aiflow.agents.tofc.part import Part
from aiflow.agents.tofc.picture import picture
from aiflow.agents.tofc.tool import look_with
from aiflow.clock import VirtualClock
from aiflow.collaboration.tofc.decoder import Decoder
from aiflow.collaboration.tofc.encoder import Encoder
from aiflow.errors import (
    AgentDiedError,
    ChecksumError,
    DeadlineError,
    InputError,
    MessageError,
    ProtocolError,
    TopologyError,
    UnsupportedModelError,
    WeightsError,
)
from aiflow.types import Answer, Image, Message, Options

HOME = """
nodes: {{phone: device, laptop: device, hub: cloud}}
links:
  - {{between: [device, cloud], rate: {}, rtt: 20 ms}}
"""
SHORT = {"max_tokens": 12}


def place(home: Deployment, folder: str, *, member: str = "#2", **options: Any) -> tuple[Agent, Agent]:
    """A phone with a member of the family, a cloud with the whole."""
    phone = home.agent("phone", node="phone", model=folder + member, options=SHORT | options)
    return phone, home.agent("cloud", node="hub", model=folder, options=SHORT)


@pytest.fixture
async def home(seeing: str) -> AsyncIterator[Deployment]:
    """On real time; links take none."""
    async with connect(HOME.format("1 MB/s"), local=True, emulate=False) as deployment:
        place(deployment, seeing)
        yield deployment


def simulated(folder: str, rate: str = "10 KB/s") -> tuple[VirtualClock, Deployment, Agent, Agent]:
    clock = VirtualClock()
    home = connect(HOME.format(rate), local=True, clock=clock)
    return clock, home, *place(home, folder)


def alone(folder: str, tokens: int, level: int, question: str = QUESTION) -> str:
    """What the parties give when they are called by hand, with a whole model of their own."""
    made, processor = lookers.whole(folder), lookers.processor()
    encoder, decoder = Encoder(made.backbone, made.codec), Decoder(made.backbone, made.codec)
    data = encoder.encode(processor.image_processor(lookers.picture(), return_tensors="pt"), tokens, level)
    ids = processor.tokenizer(f"User: <image>\n{question}\nAssistant:")["input_ids"]
    said = decoder.generate(decoder.prompt(decoder.image(data), ids), limit=12, stop={1})
    return str(processor.tokenizer.decode(said, skip_special_tokens=True)).split("\nUser:")[0]


def part(agent: Agent) -> Part:
    assert isinstance(agent.host, LocalHost)
    found = agent.host.worker.parts["tofc"]
    assert isinstance(found, Part)
    return found


async def test_the_text_is_the_decoders_own(home: Deployment, seeing: str) -> None:
    phone, cloud = home["phone"], home["cloud"]
    asked = {"role": "user", "content": [QUESTION, {"type": "image_url", "image_url": picture(lookers.picture()).url}]}
    before = [(await agent.ask([asked])).text for agent in (phone, cloud)]
    seen = {}
    for tokens, level in lookers.sizes(seeing):
        found = await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud, tokens=tokens, level=level)
        assert found.text == alone(seeing, tokens, level)
        assert (found.tokens, found.level, found.agent) == (tokens, level, "phone")
        seen[tokens, level] = found.nbytes
    assert seen == lookers.sizes(seeing)
    everything = await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud)
    assert (everything.tokens, everything.level) == (16, 1)  # the best of the profile
    assert len({alone(seeing, *setting) for setting in seen}) > 1
    assert [(await agent.ask([asked])).text for agent in (phone, cloud)] == before
    assert everything.text != before[1]  # the codec's adapters are the server's for such answers alone
    fewest = await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud, tokens=2)
    assert everything.usage.prompt_tokens - fewest.usage.prompt_tokens == 14


async def test_bytes_and_times_are_those_of_the_messages(seeing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, home, phone, cloud = simulated(seeing)
    crossed: list[int] = []
    call = LocalHost.call

    async def watched(self: LocalHost, name: str, payload: bytes) -> bytes:
        reply = await call(self, name, payload)
        if codec.decode(payload).kind == "tofc-see":
            crossed.append(len(payload))
        elif self is cloud.host:
            crossed.extend((len(payload), len(reply)))
        return reply

    monkeypatch.setattr(LocalHost, "call", watched)

    async def ask(**where: str) -> Looked:
        crossed.clear()
        return await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud, tokens=5, level=1, **where)

    first, second, far = await clock.run(ask()), await clock.run(ask()), await clock.run(ask(sender="laptop"))
    assert first.text == second.text == far.text
    see, look, answer = crossed
    assert second.bytes == {"phone-hub": look + answer}
    assert far.bytes == {"laptop-hub": see + answer, "phone-hub": see + 2 * answer + look}
    assert first.bytes["phone-hub"] > second.bytes["phone-hub"]  # their cards
    totals = home.network.totals()
    assert {link: sum(a.bytes.get(link, 0) for a in (first, second, far)) for link in totals if totals[link]} == {
        link: n for link, n in totals.items() if n
    }
    assert phone.spent.bytes == {link: n for link, n in totals.items() if n}
    assert phone.spent.answers == 3
    for found in (first, second):
        assert found.seconds == pytest.approx(0.02 + (look + answer) / 10_000)
        assert found.link_seconds == pytest.approx(found.seconds)
        assert found.device_seconds == found.server_seconds == 0  # no time passes while a simulation computes
    assert far.seconds == pytest.approx(0.06 + (2 * see + look + 3 * answer) / 10_000)
    await home.aclose()


async def test_times_add_up_on_the_wall_clock(home: Deployment) -> None:
    found = await home["phone"].tofc_answer(lookers.picture(), QUESTION, server=home["cloud"])
    times = found.device_seconds, found.link_seconds, found.server_seconds
    assert min(times[0], times[2]) > 0.001
    assert sum(times) == pytest.approx(found.seconds, abs=0.01)
    assert found.usage.seconds == pytest.approx(times[0] + times[2])


async def test_the_setting_follows_link_and_deadline(seeing: str, plain: str) -> None:
    chosen: dict[tuple[str, float | None], int] = {}
    for rate in ("100 KB/s", "2 KB/s", "1 KB/s"):
        clock, home, phone, cloud = simulated(seeing, rate)
        for deadline in (None, 0.8, 0.5, 0.3):
            found = phone.tofc_answer(lookers.picture(), QUESTION, server=cloud, deadline=deadline)
            try:
                chosen[rate, deadline] = (await clock.run(found)).nbytes
            except DeadlineError:
                chosen[rate, deadline] = 0
        await home.aclose()
    sizes = sorted(lookers.sizes(seeing).values())
    assert {chosen[rate, None] for rate in ("100 KB/s", "2 KB/s", "1 KB/s")} == {sizes[-1]}
    assert chosen["100 KB/s", 0.5] == sizes[-1]
    assert chosen["2 KB/s", 0.8] == sizes[-1]
    assert 0 < chosen["2 KB/s", 0.5] < sizes[-1]
    assert 0 < chosen["1 KB/s", 0.8] < sizes[-1]
    assert chosen["1 KB/s", 0.5] == sizes[0]
    assert chosen["1 KB/s", 0.3] == 0  # what travels beside the image is too much for it
    clock, home, phone, cloud = simulated(plain, "2 KB/s")
    found = phone.tofc_answer(lookers.picture(), QUESTION, server=cloud, deadline=0.8)
    assert (await clock.run(found)).nbytes == sizes[-1]
    await home.aclose()


async def test_a_link_that_collapses_is_met_with_fewer_bytes(seeing: str) -> None:
    clock, home, phone, cloud = simulated(seeing, "{trace: [[0, 100 KB/s], [1 s, 1.2 KB/s]], period: 1000 s}")

    async def ask(**how: Any) -> int:
        return (await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud, **how)).nbytes

    async def story() -> list[int]:
        early = await ask(deadline=0.8)
        await clock.sleep_until(2.0)
        await ask()  # the best, late
        return [early, await ask(deadline=0.8), await ask(deadline=0.8, tokens=16), await ask(deadline=0.8, level=1)]

    sizes = lookers.sizes(seeing)
    early, late, many, fine = await clock.run(story())
    assert early == sizes[16, 1]
    assert late < sizes[16, 1]
    assert many == sizes[16, 0]
    assert fine in (sizes[2, 1], sizes[5, 1])
    await home.aclose()


async def test_computing_times_count_against_the_deadline(home: Deployment) -> None:
    phone, cloud = home["phone"], home["cloud"]
    fast = await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud, deadline=10)
    channel = phone.facts["tofc cloud"]
    assert fast.tokens == 16
    assert channel.choose(1.0, 300, None, None) == (16, 1)
    channel.learn(nbytes=10**6, link=1.0, reply=100, device=0.4, server=0.7)
    assert channel.choose(1.0, 300, None, None) == (2, 0)
    assert channel.choose(1.2, 300, None, None) == (16, 1)


class Remote(LocalHost):
    """As in another process, which does not hear that a call is cancelled."""

    async def call(self, part: str, payload: bytes) -> bytes:
        return await asyncio.shield(super().call(part, payload))


@pytest.mark.parametrize("host", [LocalHost, Remote])
async def test_deadlines_and_cancelled_calls_end_the_generation(home: Deployment, seeing: str, host: Any) -> None:
    long = {"max_tokens": 230}
    phone, cloud = home["phone"], home["cloud"]
    cloud.host = host(cloud.host.worker)  # type: ignore[attr-defined]

    async def ask(**how: Any) -> Looked:
        return await phone.tofc_answer(lookers.picture(), "bb", server=cloud, options=long, tokens=2, **how)

    whole = await ask()
    assert whole.usage.completion_tokens > 100
    with pytest.raises(DeadlineError, match="'phone' did not answer within"):
        await ask(deadline=whole.server_seconds / 4)
    task = asyncio.create_task(ask())
    await asyncio.sleep(whole.server_seconds / 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    began = asyncio.get_running_loop().time()
    await part(cloud)._aside(lambda: None)  # its turn comes when the thread is free
    assert asyncio.get_running_loop().time() - began < whole.server_seconds / 2
    await asyncio.sleep(0.01)
    assert not part(cloud).running
    assert phone.spent.answers == 1
    clock, simulation, slow, far = simulated(seeing, "100 B/s")
    with pytest.raises(DeadlineError):
        await clock.run(slow.tofc_answer(lookers.picture(), QUESTION, server=far, deadline=1.0))
    await simulation.aclose()


async def test_options_are_those_of_ordinary_asks(home: Deployment) -> None:
    phone, cloud = home["phone"], home["cloud"]

    async def ask(**options: Any) -> Looked:
        return await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud, options=options)

    full = await ask(max_tokens=30)
    one = await ask(max_tokens=1)
    assert (one.finish, one.usage.completion_tokens, full.text.startswith(one.text)) == ("length", 1, True)
    assert not full.logprobs
    likely = await ask(max_tokens=3, top_logprobs=2)
    assert [len(place) for place in likely.logprobs] == [2] * likely.usage.completion_tokens
    assert all(0 >= first >= second for (_, first), (_, second) in likely.logprobs)
    assert "".join(place[0][0] for place in likely.logprobs).startswith(likely.text)
    stop = full.text[4:6]
    cut = await ask(max_tokens=30, stop=(stop,))
    assert (cut.text, cut.finish) == (full.text[: full.text.index(stop)], "stop")
    drawn = [(await ask(temperature=2.0, seed=seed)).text for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({(await ask(temperature=2.0)).text for _ in range(4)}) > 1
    long = await phone.tofc_answer(lookers.picture(), "x" * 215, server=cloud, options={"max_tokens": 100}, tokens=2)
    # "User: ", 16 places of the image, a line break, and "\nAssistant:" stand before and behind the question
    assert long.usage.completion_tokens == 256 - 6 - 16 - 1 - 215 - 11
    with pytest.raises(InputError, match="reads 256 tokens"):
        await phone.tofc_answer(lookers.picture(), "x" * 230, server=cloud)


async def test_many_at_once(home: Deployment) -> None:
    phone, cloud = home["phone"], home["cloud"]
    questions = [QUESTION, "b", "cc", "ddd"]
    single = [(await phone.tofc_answer(lookers.picture(), q, server=cloud)).text for q in questions]
    several = await asyncio.gather(*(phone.tofc_answer(lookers.picture(), q, server=cloud) for q in questions * 2))
    assert [found.text for found in several] == single * 2
    assert len(set(single)) > 1


async def test_the_tool_and_the_synchronous_call(home: Deployment, tmp_path: Any) -> None:
    phone, cloud = home["phone"], home["cloud"]
    phone.abilities.append(look_with(cloud, deadline=20))
    tools = {tool.name: tool for tool in phone.tools()}
    assert set(tools) == {"ask_phone", "look_with_cloud"}
    shown = picture(lookers.picture())
    (tmp_path / "it.png").write_bytes(shown.data)
    expected = (await phone.tofc_answer(shown, QUESTION, server=cloud)).text
    tool = tools["look_with_cloud"]
    for image in (str(tmp_path / "it.png"), shown.url):
        assert await tool.ainvoke({"image": image, "question": QUESTION}) == expected
    with pytest.raises(InputError, match="cannot be read"):
        await tool.ainvoke({"image": "nowhere.png", "question": QUESTION})
    found = await asyncio.to_thread(phone.tofc_answer_sync, shown, QUESTION, server=cloud)
    assert found.text == expected
    assert await asyncio.to_thread(tool.invoke, {"image": shown.url, "question": QUESTION}) == expected


def test_forms_of_images(tmp_path: Any) -> None:
    pixels = lookers.picture()
    drawn = PIL.Image.fromarray(pixels)
    data = io.BytesIO()
    drawn.save(data, "PNG")
    raw = data.getvalue()
    (tmp_path / "it.png").write_bytes(raw)
    same = [Image(raw), raw, tmp_path / "it.png", str(tmp_path / "it.png"), Image(raw).url, drawn, pixels]
    assert {picture(value).data for value in same} == {raw}
    assert picture(pixels[..., 0]).media_type == "image/png"
    for wrong in (pixels / 255.0, pixels[:0], pixels[..., :2], 7, b"no picture", "data:image/png;base64,?", None):
        with pytest.raises(InputError):
            picture(wrong)


async def test_what_cannot_be_asked(home: Deployment) -> None:
    phone, cloud, image = home["phone"], home["cloud"], lookers.picture()
    other = connect(HOME.format("1 MB/s"), local=True).agent("other", node="hub", model="scripted:echo")
    before = home.network.totals()
    for arguments, message in (
        ({"server": phone}, "its own server"),
        ({"server": other}, "different deployments"),
        ({"tokens": 0}, "tokens=0"),
        ({"level": True}, "level=True"),
        ({"deadline": "soon"}, "deadline='soon'"),
        ({"options": {"heat": 1}}, "heat"),
    ):
        with pytest.raises(InputError, match=message):
            await phone.tofc_answer(image, QUESTION, **({"server": cloud} | arguments))
    with pytest.raises(TopologyError):
        await phone.tofc_answer(image, QUESTION, server=cloud, sender="moon")
    turn = {"role": "user", "content": [QUESTION, {"type": "image_url", "image_url": picture(image).url}]}
    with pytest.raises(InputError, match="give the image by itself"):
        await phone.tofc_answer(image, [turn], server=cloud)
    assert home.network.totals() == before  # nothing was sent
    with pytest.raises(InputError, match="levels 0 to 1"):
        await phone.tofc_answer(image, QUESTION, server=cloud, level=7)
    with pytest.raises(InputError, match="image tokens"):
        await phone.tofc_answer(image, "What is <image>?", server=cloud)
    with pytest.raises(InputError, match="cannot be decoded"):
        await phone.tofc_answer(b"\x89PNG nothing", QUESTION, server=cloud)
    assert phone.spent.answers == 0


async def test_models_that_cannot_take_part(home: Deployment, seeing: str, tmp_path: Any) -> None:
    phone, cloud = home["phone"], home["cloud"]
    text = home.agent("text", node="hub", model=speakers.save(tmp_path / "text", speakers.llama()))
    echo = home.agent("echo", node="hub", model="scripted:echo")
    part_ = home.agent("part", node="hub", model=seeing + "#2")
    lookers.llava().save_pretrained(tmp_path / "bare")
    lookers.processor().save_pretrained(tmp_path / "bare")
    bare = home.agent("bare", node="hub", model=str(tmp_path / "bare"))
    other = home.agent("other", node="hub", model=lookers.family(tmp_path / "other", seed=1))
    for server, kind, message in (
        (text, UnsupportedModelError, "reads text only"),
        (echo, InputError, "has no model in its process"),
        (part_, InputError, "let the whole model be the server"),
        (bare, WeightsError, "train one with `aiflow"),
        (other, InputError, "have different codecs"),
    ):
        with pytest.raises(kind, match=message):
            await phone.tofc_answer(lookers.picture(), QUESTION, server=server)
    with pytest.raises(WeightsError, match="train one with `aiflow"):
        await bare.tofc_answer(lookers.picture(), QUESTION, server=cloud)


async def test_a_part_trusts_no_message(home: Deployment) -> None:
    phone, cloud = home["phone"], home["cloud"]
    await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud)
    ask = replies.encode_ask("a", [Message("user", QUESTION)], Options())
    see = wire.encode(wire.See(ask=ask, image=picture(lookers.picture()).data, tokens=2, level=0))
    seen = wire.decode(await phone.host.call("tofc", see), wire.Seen)
    look = wire.decode(seen.look, wire.Look)
    assert isinstance(replies.decode_reply(await cloud.host.call("tofc", seen.look), "a"), Answer)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        at, bit = (int(torch.randint(n, (), generator=generator)) for n in (len(look.image), 8))
        wrong = bytearray(look.image)
        wrong[at] ^= 1 << bit
        reply = await cloud.host.call("tofc", wire.encode(wire.Look(ask=ask, image=bytes(wrong))))
        with pytest.raises(ChecksumError):
            replies.decode_reply(reply, "a")
    for payload, kind in (
        (b"", ProtocolError),
        (seen.look[:-1], ProtocolError),
        (wire.encode(wire.Look(ask=b"?", image=look.image)), ProtocolError),
        (codec.encode("tofc-look", {"ask": ask}), MessageError),
        (codec.encode("tofc-nonsense"), MessageError),
        (wire.encode(wire.See(ask=ask, image=b"no picture", tokens=2, level=0)), InputError),
    ):
        with pytest.raises(kind):
            replies.decode_reply(await phone.host.call("tofc", payload), "a")
    assert await cloud.host.call("tofc", wire.encode(wire.Leave(key="nobody"))) == b""
    assert not part(cloud).running


async def test_a_closed_agent_says_so(seeing: str) -> None:
    async with connect(HOME.format("1 MB/s"), local=True, emulate=False) as home:
        phone, cloud = place(home, seeing)

        class Dead(LocalHost):
            async def call(self, part: str, payload: bytes) -> bytes:
                raise AgentDiedError(f"killed by a test before {part} had {len(payload)} bytes")

        assert isinstance(cloud.host, LocalHost)
        alive, cloud.host = cloud.host, Dead(cloud.host.worker)
        with pytest.raises(AgentDiedError) as caught:
            await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud)
        assert caught.value.agent == "cloud"
        cloud.host = alive
        await phone.tofc_answer(lookers.picture(), QUESTION, server=cloud)
