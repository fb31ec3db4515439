import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.clock import VirtualClock
from aiflow.cluster import EmulatedLink, Trace
from aiflow.errors import TopologyError

rates = st.floats(1e3, 1e8)
sizes = st.lists(st.integers(0, 200_000), min_size=1, max_size=20)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    gaps = draw(st.lists(st.floats(0.01, 5), min_size=0, max_size=5))
    times = [0.0]
    for gap in gaps:
        times.append(times[-1] + gap)
    values = [draw(st.one_of(st.just(0.0), rates)) for _ in times[1:]] + [draw(rates)]
    period = draw(st.one_of(st.none(), st.floats(0.01, 3)))
    return Trace(trace=list(zip(times, values, strict=True)), period=times[-1] + period if period else None)


def volume(trace: Trace, start: float, end: float, steps: int = 20_000) -> float:
    width = (end - start) / steps
    return sum(trace.rate(start + (i + 0.5) * width) for i in range(steps)) * width


@given(rates, sizes, st.floats(0, 1), st.floats(0, 0.1))
def test_arrivals_are_in_order_and_never_early(rate: float, messages: list[int], rtt: float, jitter: float) -> None:
    link = EmulatedLink(rate, rtt, jitter, clock=VirtualClock(), seed=1)
    arrivals = [link.reserve(n) for n in messages]
    assert arrivals == sorted(arrivals)
    total = 0
    for n, arrival in zip(messages, arrivals, strict=True):
        total += n
        assert total / rate + rtt / 2 <= arrival * (1 + 1e-9) + 1e-12
        assert arrival <= total / rate + rtt / 2 + jitter + 1e-6
    assert link.traffic().bytes == total
    assert link.traffic().messages == len(messages)
    assert link.traffic(down=True).bytes == 0


@given(sizes, st.floats(0.01, 0.5))
def test_loss_costs_bytes_and_round_trips(messages: list[int], loss: float) -> None:
    clean = EmulatedLink("1 MB/s", 0.1, clock=VirtualClock())
    lossy = EmulatedLink("1 MB/s", 0.1, loss=loss, clock=VirtualClock(), seed=3)
    again = EmulatedLink("1 MB/s", 0.1, loss=loss, clock=VirtualClock(), seed=3)
    for n in messages:
        arrival = lossy.reserve(n)
        assert arrival >= clean.reserve(n) - 1e-9
        assert arrival == again.reserve(n)
    assert lossy.traffic().bytes == clean.traffic().bytes
    assert lossy.traffic().resent == again.traffic().resent


def test_the_share_of_resent_bytes_follows_the_loss() -> None:
    link = EmulatedLink("1 GB/s", loss=0.1, clock=VirtualClock())
    for _ in range(300):
        link.reserve(150_000)
    assert link.traffic().resent / link.traffic().bytes == pytest.approx(0.1 / 0.9, rel=0.05)


@given(traces(), st.floats(0, 30), st.integers(1, 500_000))
def test_a_trace_sends_exactly_the_bytes(trace: Trace, start: float, size: int) -> None:
    end = trace.finish(start, size)
    assert end > start
    middle = trace.finish(start, size / 2)
    assert start < middle <= end
    assert trace.finish(middle, size / 2) == pytest.approx(end, rel=1e-6, abs=1e-6)  # additive
    if end - start < 20:
        peak = max(rate for _, rate in trace.points)
        assert volume(trace, start, end) == pytest.approx(size, abs=peak * (end - start) / 1000 + 1e-3)


def test_a_message_waits_through_an_outage_and_over_cycles() -> None:
    trace = Trace(trace=[[0, "1 KB/s"], ["2 s", 0]], period="10 s")  # 2 KB per cycle of 10 s
    assert trace.finish(0, 2000) == pytest.approx(2)
    assert trace.finish(0, 3000) == pytest.approx(11)
    assert trace.finish(5, 1000) == pytest.approx(11)
    assert trace.finish(0, 2_000_000) == pytest.approx(9992)


def test_only_serialisation_occupies_the_link() -> None:
    link = EmulatedLink("1 KB/s", 10.0, clock=VirtualClock())
    assert [link.reserve(1000), link.reserve(1000)] == [6.0, 7.0]


def test_directions_do_not_disturb_each_other() -> None:
    link = EmulatedLink({"up": "1 KB/s", "down": "2 KB/s"}, clock=VirtualClock())
    assert [link.reserve(1000), link.reserve(1000, down=True)] == [1.0, 0.5]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="loss"):
        EmulatedLink(1, loss=1.0, clock=VirtualClock())
    with pytest.raises(ValueError, match="-1"):
        EmulatedLink(1, clock=VirtualClock()).reserve(-1)
    with pytest.raises(TopologyError, match="sort the points"):
        Trace(trace=[[0, 1], [5, 1], [3, 1]])
