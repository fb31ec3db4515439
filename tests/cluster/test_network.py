import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.clock import VirtualClock
from aiflow.cluster import Channel, Network, Topology
from aiflow.errors import TopologyError

HOME = Path(__file__).parents[2] / "examples" / "home.yaml"
CHAIN = Topology(
    nodes={"phone": "device", "watch": "device", "edge": "edge", "cloud": "cloud"},
    links=[
        {"between": ["device", "edge"], "rate": "1 KB/s", "rtt": "2 s"},
        {"between": ["edge", "cloud"], "rate": "500 B/s", "rtt": "4 s"},
    ],
)


def network(**options: object) -> tuple[Network, VirtualClock]:
    clock = VirtualClock()
    return Network(CHAIN, clock, **options), clock  # type: ignore[arg-type]


def test_routes_take_the_fewest_links_then_the_quickest() -> None:
    net = Network(Topology.load(HOME), VirtualClock())
    assert net.route("phone", "cloud") == ("phone-edge", "edge-cloud")
    assert net.route("cloud", "phone") == ("edge-cloud", "phone-edge")
    assert net.route("phone", "phone") == ()
    with pytest.raises(TopologyError, match="did you mean 'phone'"):
        net.route("phon", "cloud")
    diamond = Topology(
        nodes=dict.fromkeys("abcd", "edge"),
        links=[
            {"between": pair, "rate": 1e6, "rtt": rtt}
            for pair, rtt in ((("a", "b"), 0.1), (("b", "d"), 0.1), (("a", "c"), 0.01), (("c", "d"), 0.01))
        ],
    )
    assert Network(diamond, VirtualClock()).route("a", "d") == ("a-c", "c-d")


async def test_a_message_is_stored_and_forwarded() -> None:
    net, clock = network()
    delivery = await clock.run(net.send("phone", "cloud", 1000))
    assert delivery.seconds == clock.now() == pytest.approx(1 + 1 + 2 + 2)
    assert delivery.bytes == {"phone-edge": 1000, "edge-cloud": 1000}
    assert net.totals() == {"phone-edge": 1000, "watch-edge": 0, "edge-cloud": 1000}
    assert net.ideal("phone", "cloud", 1000) == pytest.approx(6)
    assert (await clock.run(net.send("edge", "edge", 10**9))).seconds == 0


async def test_a_shared_link_serves_in_the_order_of_arrival() -> None:
    net, clock = network()

    async def both() -> list[float]:
        big, small = net.send("phone", "cloud", 4000), net.send("watch", "cloud", 1000)
        return [d.arrival for d in await asyncio.gather(big, small)]

    big, small = await clock.run(both())
    assert small == pytest.approx(1 + 1 + 2 + 2)  # reaches the second link first, though sent second
    assert big == pytest.approx(4 + 1 + 8 + 2)


@given(st.lists(st.integers(1, 5000), max_size=12))
def test_a_channel_is_pipelined_and_in_order(sizes: list[int]) -> None:
    async def stream(net: Network, clock: VirtualClock) -> list[tuple[int, float]]:
        got = []
        channel: Channel[int]
        async with net.channel("phone", "cloud") as channel:
            for index, size in enumerate(sizes):
                channel.put(index, size)
            channel.close()
            async for index in channel:
                got.append((index, clock.now()))
        return got

    async def main() -> None:
        net, clock = network()
        got = await clock.run(stream(net, clock))
        assert [index for index, _ in got] == list(range(len(sizes)))
        first = second = 0.0
        for size, (_, moment) in zip(sizes, got, strict=True):
            first += size / 1000
            second = max(second, first + 1) + size / 500
            assert moment == pytest.approx(second + 2)
        assert net.totals()["edge-cloud"] == net.totals()["phone-edge"] == sum(sizes)

    asyncio.run(main())


async def test_a_cancelled_wait_loses_nothing_and_cancel_ends_the_stream() -> None:
    net, clock = network()

    async def main() -> list[str]:
        channel: Channel[str]
        async with net.channel("phone", "edge") as channel:
            channel.put("first", 1000)
            waiting = asyncio.ensure_future(anext(channel))
            await clock.sleep_until(1)
            waiting.cancel()
            item = await anext(channel)
            channel.put("never", 1000)
            await channel.cancel()
            with pytest.raises(RuntimeError, match="closed"):
                channel.put("late", 1)
            return [item, *[late async for late in channel]]

    assert await clock.run(main()) == ["first"]


async def test_without_emulation_bytes_count_and_nothing_waits() -> None:
    net = Network(CHAIN, emulate=False)
    started = time.monotonic()
    delivery = await net.send("phone", "cloud", 10**9)
    channel: Channel[int] = net.channel("phone", "cloud")
    channel.put(7, 5)
    assert await anext(channel) == 7
    await channel.cancel()
    assert time.monotonic() - started < 1
    assert delivery.seconds == 0
    assert net.totals()["edge-cloud"] == 10**9 + 5


async def test_real_time_is_the_emulated_time() -> None:
    pair = Topology(nodes={"a": "device", "b": "edge"}, links=[{"between": ["a", "b"], "rate": "100 KB/s"}])
    net, took = Network(pair), []
    while not took or (min(took) > 0.52 and len(took) < 5):  # the machine is shared: the best of a few
        started = time.monotonic()
        await asyncio.gather(net.send("a", "b", 25_000), net.send("a", "b", 25_000))  # one queue: 0.5 s together
        took.append(time.monotonic() - started)
    assert min(took) == pytest.approx(0.5, rel=0.05)


async def test_the_same_seed_gives_the_same_arrivals() -> None:
    async def arrivals(seed: int) -> list[float]:
        clock = VirtualClock()
        net = Network(Topology.load(HOME), clock, seed)
        return [(await clock.run(net.send("watch", "cloud", 5000))).arrival for _ in range(5)]

    assert await arrivals(1) == await arrivals(1) != await arrivals(2)
