"""Quantities with units in topology files and options: ``1 MB/s``, ``20 ms``, ``512 KiB``, ``5 %``.

Decimal prefixes are powers of 1000, binary ones (KiB) of 1024; ``b`` is a bit, ``B`` a byte. A bare number is in the
base unit (bytes, bytes/s, seconds, fraction).
"""

import math
import re

from aiflow.errors import UsageError

_PREFIX = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
SIZE = {f"{p}{u}": f * b for p, f in _PREFIX.items() for u, b in (("B", 1.0), ("b", 0.125), ("bit", 0.125))}
RATE = {f"{unit}/s": f for unit, f in SIZE.items()} | {f"{p}bps": f / 8 for p, f in _PREFIX.items()}
TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0}
SHARE = {"%": 0.01, "": 1.0}

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*")


def parse(value: str | float, units: dict[str, float], example: str) -> float:
    """Reads a quantity into base units; never negative, never infinite.

    Raises UsageError with ``example`` when the number or the unit cannot be read.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{value!r} is not a quantity; write it like {example!r}.")
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if not match or (match[2] and match[2] not in units):
            raise UsageError(f"{value!r} is not a quantity; write it like {example!r}.")
        number = float(match[1]) * units.get(match[2], 1.0)
    else:
        number = float(value)
    if not math.isfinite(number) or number < 0:
        raise UsageError(f"{value!r} must be a finite number >= 0; write it like {example!r}.")
    return number


def size(value: str | float) -> float:
    """Bytes from e.g. ``'2 MB'``."""
    return parse(value, SIZE, "2 MB")


def rate(value: str | float) -> float:
    """Bytes per second from e.g. ``'1 MB/s'`` or ``'8 Mbit/s'``."""
    return parse(value, RATE, "1 MB/s")


def duration(value: str | float) -> float:
    """Seconds from e.g. ``'20 ms'``."""
    return parse(value, TIME, "20 ms")


def share(value: str | float) -> float:
    """A fraction of 0..1 from e.g. ``'2 %'`` or ``0.02``."""
    fraction = parse(value, SHARE, "2 %")
    if fraction > 1:
        raise UsageError(f"{value!r} is more than 100 %; write it like '2 %'.")
    return fraction


def show_bytes(count: float) -> str:
    """``1234567`` -> ``'1.2 MB'``."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count:.0f} B"
