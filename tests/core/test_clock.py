"""The virtual clock is deterministic and instant; the real one waits."""

import asyncio
import time

import pytest

from aiflow.clock import RealClock, VirtualClock


async def test_virtual_time_orders_events_and_takes_none():
    clock, seen = VirtualClock(), []

    async def sleeper(moment):
        await clock.sleep_until(moment)
        seen.append((moment, clock.now()))

    async def main():
        await asyncio.gather(*(sleeper(m) for m in (300.0, 1.0, 20.0, 1.0)))
        return clock.now()

    start = time.perf_counter()
    assert await clock.run(main()) == 300.0
    assert time.perf_counter() - start < 1
    assert seen == [(1.0, 1.0), (1.0, 1.0), (20.0, 20.0), (300.0, 300.0)]


async def test_virtual_tasks_that_wake_each_other_stay_in_order():
    clock, queue, log = VirtualClock(), asyncio.Queue(), []

    async def producer():
        for n in range(5):
            await clock.sleep_until(clock.now() + 1)
            queue.put_nowait(n)

    async def consumer():
        for _ in range(5):
            n = await queue.get()
            await clock.sleep_until(clock.now() + 0.25)
            log.append((n, clock.now()))

    async def main():
        await asyncio.gather(producer(), consumer())

    await clock.run(main())
    assert log == [(n, n + 1.25) for n in range(5)]


async def test_a_cancelled_sleeper_does_not_hold_time():
    clock = VirtualClock()

    async def main():
        task = asyncio.ensure_future(clock.sleep_until(5))
        await clock.sleep_until(1)
        task.cancel()
        await clock.sleep_until(10)
        return clock.now()

    assert await clock.run(main()) == 10


async def test_a_deadlock_is_an_error_not_a_hang():
    clock = VirtualClock()

    async def main():
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="deadlock"):
        await clock.run(main())


async def test_errors_leave_the_simulation():
    async def main():
        raise KeyError("x")

    with pytest.raises(KeyError):
        await VirtualClock().run(main())


async def test_the_real_clock_waits():
    clock = RealClock()
    start = clock.now()
    await clock.sleep_until(start + 0.05)
    assert clock.now() - start >= 0.05
    await clock.sleep_until(start)  # past: returns at once
