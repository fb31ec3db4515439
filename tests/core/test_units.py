"""Quantities with units."""

import pytest

from aiflow import units
from aiflow.errors import UsageError


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (units.rate, "1 MB/s", 1e6),
        (units.rate, "8 Mbit/s", 1e6),
        (units.rate, "8Mbps", 1e6),
        (units.rate, "1 MiB/s", 2**20),
        (units.rate, 500_000, 5e5),
        (units.duration, "20 ms", 0.02),
        (units.duration, "1.5 s", 1.5),
        (units.duration, "2 min", 120),
        (units.size, "512 KiB", 524288),
        (units.share, "5 %", 0.05),
        (units.share, 0.25, 0.25),
    ],
)
def test_quantities(read, text, value):
    assert read(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (units.rate, "1 MB"),
        (units.rate, "fast"),
        (units.rate, ""),
        (units.rate, None),
        (units.rate, True),
        (units.rate, -1),
        (units.rate, "nan"),
        (units.rate, float("inf")),
        (units.duration, "20 mms"),
        (units.size, [1]),
        (units.share, "120 %"),
    ],
)
def test_bad_quantities_name_the_value_and_an_example(read, text):
    with pytest.raises(UsageError, match="write it like") as error:
        read(text)
    assert repr(text) in str(error.value)


def test_bytes_are_shown_short():
    assert [units.show_bytes(n) for n in (12, 1234, 1234567, 2e9)] == ["12 B", "1.2 KB", "1.2 MB", "2.0 GB"]
