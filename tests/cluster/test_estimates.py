"""Estimates of links and loads from what crosses them: steady, changing, queueing, down. Seeded; nothing is sent."""

from math import log

import numpy as np
import pytest

from aiflow.cluster.estimates import Direction, Level
from aiflow.errors import InputError


def feed(line: Direction, rate: float, delay: float, count: int, *, start: float = 0.0, seed: int = 0) -> float:
    """Messages of mixed sizes, one a second, with 10 % noise; the time after the last one."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        size = float(10 ** rng.uniform(2, 6))
        line.add(size, (delay + size / rate) * float(rng.lognormal(0, 0.1)), start + k)
    return start + count


@pytest.mark.parametrize(("rate", "delay"), [(5e4, 0.1), (1e6, 0.02), (1e8, 0.001)])
def test_rate_and_delay_are_found_from_a_wrong_start(rate: float, delay: float) -> None:
    line = Direction(rate=4e6, delay=0.01)
    now = feed(line, rate, delay, 40)
    assert line.rate(now).value == pytest.approx(rate, rel=0.25)
    assert line.delay == pytest.approx(delay, rel=0.5, abs=0.002)  # a millisecond is noise
    assert line.rate(now).spread < 0.5


def test_a_step_is_followed_within_two_messages() -> None:
    for before, after in ((4e6, 1e5), (1e5, 4e6)):
        line = Direction(rate=before, delay=0.01)
        now = feed(line, before, 0.01, 20)
        for k in range(2):
            line.add(3e5, 0.01 + 3e5 / after, now + k)
        assert line.rate(now + 2).value == pytest.approx(after, rel=0.35)


def test_one_message_that_queued_is_only_half_believed() -> None:
    line = Direction(rate=1e6, delay=0.01)
    now = feed(line, 1e6, 0.01, 30)
    line.add(1e5, 30 * 0.11, now)
    assert line.rate(now).value > 1e6 / 10
    line.add(1e5, 0.11, now + 1)
    assert line.rate(now + 1).value == pytest.approx(1e6, rel=0.5)


def test_uncertainty_grows_with_silence_and_shrinks_with_news() -> None:
    line = Direction(rate=1e6, delay=0.01)
    now = feed(line, 1e6, 0.01, 20)
    fresh, stale = line.rate(now), line.rate(now + 60)
    assert fresh.spread < stale.spread
    assert stale.seen == now - 1
    line.add(1e6, 1.0, now + 60)
    assert line.rate(now + 60).spread < stale.spread


def test_an_outage() -> None:
    line = Direction(rate=1e6, delay=0.01)
    now = feed(line, 1e6, 0.01, 20)
    assert 0.12 < line.limit(1e5, now) < 1.0
    line.late(now + 1)
    line.late(now + 2)
    assert (line.down, line.silent_since) == (True, now + 1)
    line.add(1e5, 20.0, now + 20)
    assert not line.down
    assert line.rate(now + 20).value == pytest.approx(1e6, rel=0.3)  # 20 s away are no rate of 5 kB/s
    assert line.rate(now + 20).spread > 0.5  # but nothing is sure


def test_it_stays_finite_whatever_comes() -> None:
    rng, line = np.random.default_rng(3), Direction(rate=1e6, delay=0.01)
    for k in range(3000):
        line.add(float(10 ** rng.uniform(0, 8)), float(10 ** rng.uniform(-4, 2)), float(k) * float(rng.random()))
        found = line.rate(float(k))
        assert 0 < found.value < float("inf")
        assert 0 <= found.spread <= 1.0


def test_a_load_follows_and_survives_one_odd_answer() -> None:
    load = Level()
    for k in range(10):
        load.add(1.0, float(k))
    load.add(6.0, 10.0)
    assert 1.2 < load.at(10.0).value < 5
    load.add(6.0, 11.0)
    assert load.at(11.0).value == pytest.approx(6.0, rel=0.4)
    load.add(1.0, 12.0)  # faster than expected: believed at once
    assert log(load.at(12.0).value) < 0.7


@pytest.mark.parametrize("wrong", [{"rate": 0.0, "delay": 0.1}, {"rate": 1.0, "delay": -1.0}])
def test_what_cannot_be_meant(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="rate"):
        Direction(**wrong)
    with pytest.raises(InputError, match="no transfer"):
        Direction(rate=1.0, delay=0.0).add(1.0, 0.0, 0.0)
    with pytest.raises(InputError, match="factor"):
        Level().add(0.0, 1.0)
