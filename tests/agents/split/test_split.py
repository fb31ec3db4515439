"""Split inference between agents of one process: the server's text, bytes, events, outages, deaths, and no remains."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import PIL.Image
import pytest

from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment, connect
from aiflow.agents.host import LocalHost
from aiflow.agents.split.events import Final, Provisional, Split, TakenBack
from aiflow.agents.split.gauge import Gauge, Rate
from aiflow.agents.split.tool import split_with
from aiflow.clock import VirtualClock
from aiflow.errors import AgentDiedError, DeadlineError, InputError, TopologyError
from aiflow.nano.visual.draw import render
from aiflow.nano.visual.suites import suite
from aiflow.types import Image, Message, Options

FAMILY = "aiflow:nano/family"
HOME = """
nodes: {{phone: device, hub: cloud}}
links:
  - {{between: [device, cloud], rate: {rate}, rtt: 20 ms}}
"""
QUESTION = "What is 17 + 25?"
DEVICES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("#2", {}),
    ("#1", {"ahead": 1}),
    ("#4:0", {"transport": "activations"}),
    ("#6", {"transport": "activations"}),
    ("#2", {"transport": "ids"}),
    ("#3", {"exit": 1}),
    ("", {"exit": 0, "transport": "activations"}),
    ("", {"exit": 8}),
)


def picture() -> Message:
    raw = io.BytesIO()
    PIL.Image.fromarray(render(suite("mme", 1)[0].scene)).save(raw, "PNG")
    return Message("user", "List the objects from top to bottom.", (Image(raw.getvalue()),))


def house(rate: str = "1 MB/s", **more: Any) -> Deployment:
    return connect(HOME.format(rate=rate), local=True, **more)


@pytest.fixture
async def home() -> AsyncIterator[Deployment]:
    """A phone and a hub whose links take no time."""
    async with house(emulate=False) as cluster:
        cluster.agent("phone", node="phone", model=f"{FAMILY}#2")
        cluster.agent("hub", node="hub", model=FAMILY)
        yield cluster


def both(cluster: Deployment) -> tuple[Agent, Agent]:
    return cluster["phone"], cluster["hub"]


def part(agent: Agent) -> Any:
    assert isinstance(agent.host, LocalHost)
    return agent.host.worker.parts["split"]


async def emptied(phone: Agent, hub: Agent) -> None:
    """Waits until neither side holds anything of a session."""
    for _ in range(200):
        if not part(phone).talks and not len(part(hub).backs or ()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a session is left")


@pytest.mark.parametrize(("model", "how"), DEVICES, ids=lambda x: str(x))
async def test_the_text_is_the_servers(home: Deployment, model: str, how: dict[str, Any]) -> None:
    hub = home["hub"]
    device = home.agent("other", node="phone", model=FAMILY + model)
    for question in (QUESTION, picture()):
        whole = await hub.ask(question)
        found = await device.split_infer(question, server=hub, deadline=30, **how)
        assert (found.text, found.finish, found.judged) == (whole.text, whole.finish, True)
        assert sum(found.tokens_by.values()) == found.usage.completion_tokens == whole.usage.completion_tokens
        assert found.bytes["phone-hub"] > 0
        assert found.device_seconds > 0 or how.get("exit") == 0
        assert found.server_seconds > 0
    await emptied(device, hub)


async def test_any_decoder_can_be_split_without_a_branch(home: Deployment, tiny: str) -> None:
    first = home.agent("first", node="phone", model=tiny, options={"max_tokens": 12})
    rest = home.agent("rest", node="hub", model=tiny, options={"max_tokens": 12})
    whole = await rest.ask("hello")
    for exit_ in (0, 1, 2):
        found = await first.split_infer("hello", server=rest, exit=exit_, transport="activations")
        assert (found.text, found.finish) == (whole.text, whole.finish)
        assert found.tokens_by["first"] == (12 if exit_ == 2 else 0)  # all blocks: its own tokens are right


async def test_events_show_the_devices_text_first_and_add_up(home: Deployment) -> None:
    phone, hub = both(home)
    events = [e async for e in phone.split_stream(QUESTION, server=hub, transport="activations")]
    assert isinstance(events[0], Provisional)
    assert (events[0].place, events[0].tier) == (0, "phone")
    answer = events[-1]
    assert isinstance(answer, Split)
    assert "".join(e.text for e in events if isinstance(e, Final)) == answer.text == (await hub.ask(QUESTION)).text
    taken = [e for e in events if isinstance(e, TakenBack)]
    assert sum(e.tokens for e in taken) == answer.taken_back > 0  # exit 2 does not know sums as the full model does
    assert all(e.place < answer.usage.completion_tokens for e in taken)
    assert phone.spent.answers == 1


async def test_the_first_token_waits_for_no_link() -> None:
    clock = VirtualClock()

    async def main() -> None:
        cluster = house("100 KB/s", clock=clock)
        phone = cluster.agent("phone", node="phone", model=f"{FAMILY}#2")
        hub = cluster.agent("hub", node="hub", model=FAMILY)
        async with aclosing(phone.split_stream(picture(), server=hub)) as events:
            assert isinstance(await anext(events), Provisional)
            assert clock.now() == 0.0
            rest = [e async for e in events]
        assert clock.now() > 0.02
        assert isinstance(rest[-1], Split)
        crossed = rest[-1].bytes
        assert crossed == cluster.network.totals()  # every byte of the link is the answer's
        assert rest[-1].rate == pytest.approx(1e5, rel=0.05)

    await clock.run(main())


@pytest.mark.parametrize("transport", ["auto", "activations", "ids"])
async def test_a_link_that_is_down_costs_time_only(home: Deployment, transport: str) -> None:
    clock, whole = VirtualClock(), await home["hub"].ask(picture())

    async def main() -> None:
        cluster = house("{trace: [[0, 1 MB/s], [50 ms, 0 MB/s], [9 s, 1 MB/s]]}", clock=clock)
        phone = cluster.agent("phone", node="phone", model=f"{FAMILY}#2")
        hub = cluster.agent("hub", node="hub", model=FAMILY)
        events = phone.split_stream(picture(), server=hub, deadline=60, transport=transport, silence=0.5)
        shown, answer = "", None
        async for event in events:
            if isinstance(event, Provisional) and clock.now() < 9:
                shown = event.text
            answer = event
        assert isinstance(answer, Split)
        assert shown  # while the link was down
        assert (answer.text, answer.judged, answer.outages) == (whole.text, True, 1)
        assert clock.now() > 9

    await clock.run(main())


class Mortal(LocalHost):
    """A process that dies at its ``deaths``-th calls, and comes back without its sessions, or not at all."""

    def __init__(self, host: LocalHost, *, deaths: tuple[int, ...] = (), forever: int = 1 << 30) -> None:
        super().__init__(host.worker)
        self.calls, self.deaths, self.forever = 0, deaths, forever

    async def call(self, part: str, payload: bytes) -> bytes:
        """Counts."""
        self.calls += 1
        if self.calls in self.deaths or self.calls >= self.forever:
            self.worker.parts.clear()
            raise AgentDiedError("killed by a test")
        return await super().call(part, payload)


@pytest.mark.parametrize("budget", [64 << 20, 0])
async def test_a_server_that_dies_is_told_all_again(home: Deployment, budget: int) -> None:
    phone, hub = both(home)
    whole = await hub.ask(picture())
    assert isinstance(hub.host, LocalHost)
    hub.host = Mortal(hub.host, deaths=(3, 5))
    found = await phone.split_infer(
        picture(), server=hub, silence=0.05, ahead=2, budget=budget, transport="activations", deadline=30
    )
    assert (found.text, found.judged) == (whole.text, True)
    assert found.outages >= 1
    assert hub.host.calls > 5


async def test_without_a_server_best_effort_is_the_devices_own_text(home: Deployment) -> None:
    phone, hub = both(home)
    assert isinstance(hub.host, LocalHost)
    hub.host = Mortal(hub.host, forever=3)
    own = await phone.ask(QUESTION)
    found = await phone.split_infer(QUESTION, server=hub, silence=0.05, policy="best_effort", deadline=30)
    assert (found.text, found.judged, found.tokens_by["hub"]) == (own.text, False, 0)
    with pytest.raises(AgentDiedError, match="killed by a test") as failure:
        await phone.split_infer(QUESTION, server=hub, silence=0.05, patience=0.2)
    assert failure.value.agent == "hub"


async def test_a_silent_server_ends_in_an_error_in_time() -> None:
    clock = VirtualClock()

    async def main() -> None:
        cluster = house("{trace: [[0, 1 MB/s], [60 ms, 0 MB/s], [9000 s, 1 MB/s]]}", clock=clock)
        phone = cluster.agent("phone", node="phone", model=f"{FAMILY}#2")
        hub = cluster.agent("hub", node="hub", model=FAMILY)
        with pytest.raises(DeadlineError, match="not heard of for 5 s; policy='best_effort'"):
            await phone.split_infer(picture(), server=hub, patience=5)
        assert clock.now() < 10
        began = clock.now()
        with pytest.raises(DeadlineError, match="within 2 s"):
            await phone.split_infer(picture(), server=hub, deadline=2)
        assert clock.now() == pytest.approx(began + 2)

    await clock.run(main())


async def test_limits_and_stops_are_the_servers_too(home: Deployment) -> None:
    phone, hub = both(home)
    for options in ({"max_tokens": 3}, {"stop": ("+",)}, Options(max_tokens=1)):
        whole = await hub.ask(QUESTION, options=options)
        found = await phone.split_infer(QUESTION, server=hub, options=options)
        assert (found.text, found.finish) == (whole.text, whole.finish)


async def test_a_call_that_is_given_up_leaves_nothing(home: Deployment) -> None:
    phone, hub = both(home)
    async with aclosing(phone.split_stream(picture(), server=hub)) as events:
        await anext(events)
    await phone.split_infer(QUESTION, server=hub)
    await emptied(phone, hub)
    await asyncio.gather(*(phone.split_infer(QUESTION, server=hub) for _ in range(4)))
    await emptied(phone, hub)


async def test_lossy_activations_need_leave(home: Deployment) -> None:
    phone, hub = both(home)
    with pytest.raises(InputError, match="changes the text; pass lossy=True"):
        await phone.split_infer(QUESTION, server=hub, dtype="int8")
    big = await phone.split_infer(picture(), server=hub, transport="activations")
    small = await phone.split_infer(picture(), server=hub, transport="activations", dtype="int8", lossy=True)
    assert small.bytes["phone-hub"] < 0.4 * big.bytes["phone-hub"]


async def test_misuse_is_refused(home: Deployment) -> None:
    phone, hub = both(home)
    script = home.agent("script", node="hub", model="scripted:echo")
    plain = home.agent("plain", node="phone", model=FAMILY)
    other = home.agent("other", node="hub", model="aiflow:nano/base")
    half = home.agent("half", node="hub", model=FAMILY, dtype="bfloat16")
    for device, server, how, word in (
        (phone, phone, {}, "cannot be its own server"),
        (phone, hub, {"options": {"temperature": 1.0}}, "greedy text"),
        (phone, hub, {"options": {"top_logprobs": 2}}, "top_logprobs=2: split inference reports no"),
        (phone, hub, {"transport": "pigeons"}, "transport 'pigeons' is not known"),
        (phone, hub, {"policy": "x"}, "policy 'x' is not known"),
        (phone, hub, {"patience": 0}, "give seconds above 0"),
        (phone, hub, {"polcy": "lossless"}, "did you mean 'policy'"),
        (phone, hub, {"exit": 3}, "exits 0 to 2"),
        (plain, hub, {}, "say which by exit="),
        (phone, other, {}, "differ|different weights"),
        (phone, half, {}, "float32 and the server in bfloat16"),
        (phone, script, {}, "no model in its process"),
        (hub, phone, {"exit": 4}, "needs the full model"),
        (phone, hub, {"options": {"max_tokens": 5000}, "budget": -1}, "0 bytes"),
    ):
        with pytest.raises(InputError, match=word):
            await device.split_infer(QUESTION, server=server, deadline=20, **how)  # type: ignore[arg-type]
    async with house(emulate=False) as elsewhere:
        stranger = elsewhere.agent("hub", node="hub", model="scripted:echo")
        with pytest.raises(InputError, match="different deployments"):
            await phone.split_infer(QUESTION, server=stranger)
    with pytest.raises(TopologyError, match="is no node"):
        await phone.split_infer(QUESTION, server=hub, sender="moon")


def test_the_tool_and_the_synchronous_calls(home: Deployment) -> None:
    phone, hub = both(home)
    phone.abilities.append(split_with(hub, transport="ids"))
    tool = {t.name: t for t in phone.tools()}["split_with_hub"]
    assert "'hub'" in tool.description
    whole = hub.ask_sync(QUESTION).text
    assert tool.invoke({"question": QUESTION}) == whole
    assert asyncio.run(tool.ainvoke({"question": QUESTION})) == whole
    assert phone.split_infer_sync(QUESTION, server=hub).text == whole
    events = list(phone.split_stream_sync(QUESTION, server=hub))
    assert isinstance(events[-1], Split)
    with pytest.raises(InputError, match="its own server"):
        split_with(phone)(phone)


def test_a_gauge_finds_the_links_rate() -> None:
    rate = Rate()
    gauge, now, free = Gauge(rate), 0.0, 0.0
    for nbytes in (100, 50_000, 200, 20_000):
        due = gauge.begin(nbytes, now)
        free = max(now, free) + nbytes / 1e6
        now = free + 0.01
        gauge.end(nbytes, now, learn=True)
    assert due == pytest.approx(now, rel=0.01)
    assert rate.rate == pytest.approx(1e6, rel=0.01)
    assert gauge.busy == pytest.approx(now)
    gauge.begin(10_000, now)
    gauge.begin(10_000, now)
    for _ in range(2):
        gauge.end(10_000, now + 1, learn=True)  # not alone: how long it waited is not known
    assert rate.rate == pytest.approx(1e6, rel=0.01)
