"""The controller: more bytes for faster channels, never more than a deadline allows, careful where estimates failed."""

import pytest

from aiflow.collaboration.tofc.control import Controller, Setting, pareto
from aiflow.errors import InputError

PROFILE = [
    Setting(tokens=8, level=0, nbytes=50, score=0.70, device_seconds=0.01, server_seconds=0.02),
    Setting(tokens=16, level=0, nbytes=90, score=0.78, device_seconds=0.01, server_seconds=0.02),
    Setting(tokens=8, level=1, nbytes=95, score=0.72, device_seconds=0.01, server_seconds=0.02),
    Setting(tokens=16, level=1, nbytes=150, score=0.80, device_seconds=0.01, server_seconds=0.02),
    Setting(tokens=24, level=1, nbytes=240, score=0.83, device_seconds=0.01, server_seconds=0.02),
]


def test_only_settings_that_no_other_beats_are_kept():
    assert [s.nbytes for s in pareto(PROFILE)] == [50, 90, 150, 240]


def test_bytes_never_fall_as_the_rate_rises():
    chosen = [Controller(PROFILE, rate=rate).choose(0.06).nbytes for rate in range(500, 20_000, 100)]
    assert chosen == sorted(chosen)
    assert chosen[0] == 50
    assert chosen[-1] == 240


def test_what_is_chosen_fits_the_deadline_or_is_the_smallest():
    control = Controller(PROFILE, rate=5e3, rtt=0.005, caution=0.2)
    for deadline in (0.001, 0.04, 0.05, 0.06, 0.07, 0.2):
        setting = control.choose(deadline)
        fits = setting.seconds(5e3 * 0.8, 0.005) <= deadline
        assert fits or setting is control.settings[0]


def test_a_slow_transfer_counts_at_once_and_a_fast_one_by_and_by():
    control = Controller(PROFILE, rate=1e4)
    control.observe(100, 0.1)
    assert control.rate == pytest.approx(1e3)
    for _ in range(20):
        control.observe(100, 0.001)
    assert control.rate == pytest.approx(1e5)


def test_a_channel_whose_estimates_failed_is_trusted_less():
    steady, moody = Controller(PROFILE, rate=1e4), Controller(PROFILE, rate=1e4)
    for number in range(60):
        steady.observe(100, 0.01)
        moody.observe(100, 0.1 if number == 30 else 0.01)
    assert steady.rate == pytest.approx(moody.rate, rel=0.01)
    assert moody.trust < 0.2 < steady.trust
    assert moody.choose(0.06).nbytes < steady.choose(0.06).nbytes


@pytest.mark.parametrize(
    ("profile", "options"),
    [
        ([], {"rate": 1.0}),
        (PROFILE, {"rate": 0.0}),
        (PROFILE, {"rate": float("nan")}),
        (PROFILE, {"rate": 1.0, "caution": 1.0}),
        (PROFILE, {"rate": 1.0, "misses": -0.1}),
        (PROFILE, {"rate": 1.0, "rtt": -1.0}),
    ],
)
def test_what_makes_no_sense_is_refused(profile, options):
    with pytest.raises(InputError):
        Controller(profile, **options)
