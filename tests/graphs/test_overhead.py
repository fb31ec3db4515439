"""Our own time: from end to end, less the agents' on the critical path.

The best of some runs, since the tests share the machine; medians on an idle one are for ``aiflow bench overhead``.
"""

import asyncio
import time

import pytest

from aiflow.graphs import device_server


def excess(cast, devices, server_delay, delay, runs, synchronous):
    server = cast.hub(delay=server_delay)
    players = [cast.Puppet(f"d{i}", f"answer {i}", delay=delay) for i in range(devices)]
    graph = device_server(server, players, select=devices, deadline=10.0)

    async def one():
        started = time.perf_counter()
        await graph.ainvoke(cast.ask())
        return time.perf_counter() - started

    async def many():
        return [await one() for _ in range(runs)]

    if synchronous:
        times = []
        for _ in range(runs):
            started = time.perf_counter()
            graph.invoke(cast.ask())
            times.append(time.perf_counter() - started)
    else:
        times = asyncio.run(many())
    return min(times), server_delay + 2 * delay


@pytest.mark.parametrize("synchronous", [False, True])
def test_five_devices(cast, synchronous):
    best, critical = excess(cast, 5, 0.02, 0.02, 15, synchronous)
    assert best - critical < 0.1  # 5 to 20 ms where nothing else runs


@pytest.mark.parametrize("synchronous", [False, True])
def test_fifty_devices(cast, synchronous):
    best, critical = excess(cast, 50, 0.1, 0.1, 5, synchronous)
    assert best < 1.6 * critical  # 1.05 to 1.1 where nothing else runs; one after the other it were 17
