"""Whole numbers to bytes and back by a range coder; knows neither features nor networks.

Laplace values are coded by the integer tables of `laplace`, grouped by table: each group is one call. A table's counts
less 1 go to constriction as floats; it adds 1 to each and scales by what remains of 2**24, which is exactly 1 here, so
that its model is the table itself, on any machine.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import constriction
import numpy as np
from numpy.typing import NDArray

from aiflow.collaboration.tofc import laplace
from aiflow.errors import InputError, MessageError

DIGIT = 1 << 16
"""Larger numbers are coded in digits of this base."""
_WORD = 32
_REACH = np.repeat(np.array([laplace.support(scale) for scale in laplace.SCALES], np.int32), laplace.PARTS)


def clipped(values: NDArray[np.floating[Any]], tables: NDArray[np.int32]) -> NDArray[np.int32]:
    """Rounded values, each within the support of its table (numbers as in `laplace.numbered`)."""
    reach = _REACH[tables]
    found: NDArray[np.int32] = np.rint(np.clip(values, -reach, reach)).astype(np.int32)
    return found


class Writer:
    """Numbers in; `finish` gives the bytes."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def equal(self, values_n: NDArray[np.int32], count: int) -> None:
        """Numbers below ``count`` (at most ``DIGIT``), all equally probable. Raises InputError for others."""
        if values_n.size and not 0 <= values_n.min() <= values_n.max() < count:
            raise InputError(f"numbers {values_n.min()}..{values_n.max()} are not all from 0 to {count - 1}.")
        if count > 1 and values_n.size:
            self._coder.encode(np.ascontiguousarray(values_n, np.int32), _uniform(count))

    def adaptive(self, values_n: NDArray[np.int32], count: int) -> None:
        """Numbers below ``count``, each as probable as it was often before. Raises InputError for others."""
        if values_n.size and not 0 <= values_n.min() <= values_n.max() < count:
            raise InputError(f"numbers {values_n.min()}..{values_n.max()} are not all from 0 to {count - 1}.")
        seen = np.zeros(count)
        for value in values_n if count > 1 else ():
            self._coder.encode(np.array([value], np.int32), _frequent(seen))
            seen[value] += 1

    def number(self, number: int, count: int) -> None:
        """One number below ``count``, however large."""
        digits = _digits(count)
        for place in reversed(range(digits)):
            top = (count - 1) // DIGIT**place + 1 if place == digits - 1 else DIGIT
            self.equal(np.array([number // DIGIT**place % DIGIT], np.int32), top)

    def laplace(self, values: NDArray[np.int32], tables: "Tables") -> None:
        """Values in the shape of their tables. Raises InputError for one outside its support."""
        sorted_n = values.astype(np.int32, copy=False).ravel()[tables.order_n]
        try:
            for table, start, end in tables.groups:
                self._coder.encode(sorted_n[start:end] + _REACH[table], _model(table))
        except KeyError:
            raise InputError("a value lies outside its table's support; clip first.") from None

    def finish(self) -> bytes:
        """The shortest bytes that decode to what was written; nothing more can be written afterwards."""
        words = self._coder.get_compressed()
        position, (low, width) = cast(tuple[int, tuple[int, int]], self._coder.pos())
        bits = _WORD * (position + 2)
        point = int.from_bytes(words.astype(">u4").tobytes()) << (bits - _WORD * len(words))
        # Any number from ``least`` on, less than ``width`` above it, decodes alike, missing bytes being zeros.
        least = point - (point - low) % (1 << 2 * _WORD)
        for length in range(_WORD // 8 * position, bits // 8):
            unit = bits - 8 * length
            short = -(-least >> unit)
            if (short << unit) < least + width:
                return short.to_bytes(length).rstrip(b"\0")
        return least.to_bytes(bits // 8).rstrip(b"\0")


class Reader:
    """The same numbers out, asked for in the same order. Raises MessageError for bytes that `Writer` never gives."""

    def __init__(self, data: bytes) -> None:
        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def equal(self, length: int, count: int) -> NDArray[np.int32]:
        """``length`` numbers below ``count``."""
        if count == 1 or not length:
            return np.zeros(length, np.int32)
        with _refusing():
            values_n: NDArray[np.int32] = self._coder.decode(_uniform(count), length)
        return values_n

    def adaptive(self, length: int, count: int) -> NDArray[np.int32]:
        """``length`` numbers below ``count``."""
        values_n, seen = np.zeros(length, np.int32), np.zeros(count)
        with _refusing():
            for i in range(length if count > 1 else 0):
                values_n[i] = self._coder.decode(_frequent(seen))
                seen[values_n[i]] += 1
        return values_n

    def number(self, count: int) -> int:
        """One number below ``count``."""
        found, digits = 0, _digits(count)
        for place in reversed(range(digits)):
            top = (count - 1) // DIGIT**place + 1 if place == digits - 1 else DIGIT
            found = found * DIGIT + int(self.equal(1, top)[0])
        if found >= count:
            raise MessageError(f"a number of {count} possible ones is larger than all of them.")
        return found

    def laplace(self, tables: "Tables") -> NDArray[np.int32]:
        """Values in the shape of their tables."""
        sorted_n = np.empty(len(tables.order_n), np.int32)
        with _refusing():
            for table, start, end in tables.groups:
                np.subtract(self._coder.decode(_model(table), end - start), _REACH[table], out=sorted_n[start:end])
        values_n = np.empty_like(sorted_n)
        values_n[tables.order_n] = sorted_n
        return values_n.reshape(tables.shape)


class Tables:
    """The table of every value (numbers as in `laplace.numbered`, in any shape), and equal ones brought together.

    Attributes:
        shape: of the values.
        order_n: the flat values in the order in which they are coded.
        groups: of each table that occurs, its number, and where its values start and end in that order.
    """

    def __init__(self, numbers: NDArray[np.int32]) -> None:
        self.shape = numbers.shape
        flat_n = numbers.ravel().astype(np.uint16)  # sorted by radix
        self.order_n = np.argsort(flat_n, kind="stable")
        counts = np.bincount(flat_n, minlength=1)
        ends = np.cumsum(counts)
        self.groups = [(int(t), int(ends[t] - counts[t]), int(ends[t])) for t in np.flatnonzero(counts)]


@contextmanager
def _refusing() -> Iterator[None]:
    """The coder's complaints about its data as MessageError, its panics (no Exception) among them."""
    try:
        yield
    except (AssertionError, ValueError, KeyError) as error:
        raise MessageError(f"the range coder cannot read this: {error}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise MessageError(f"the range coder cannot read this: {error}") from None


def rank(places: Sequence[int]) -> int:
    """Number of a set of places, given ascending, among all sets of as many (combinatorial number system)."""
    return sum(math.comb(place, i) for i, place in enumerate(places, 1))


def unrank(number: int, count: int, total: int) -> tuple[int, ...]:
    """The set of ``count`` places out of ``total`` with a number below comb(total, count), ascending."""
    found, left, place = [], count, total - 1
    sets = math.comb(place, left) if total else 0  # of ``left`` places below ``place``
    while left:
        if sets <= number:
            found.append(place)
            number -= sets
            sets, left = sets * left // max(place, 1), left - 1
        else:
            sets = sets * (place - left) // place
        place -= 1
    return tuple(reversed(found))


def _digits(count: int) -> int:
    return -(-(count - 1).bit_length() // 16)


@cache
def _model(table: int) -> Any:
    return constriction.stream.model.Categorical((laplace.numbered(table) - 1).astype(np.float64), perfect=False)


def _frequent(seen: NDArray[np.float64]) -> Any:
    """Each number as probable as it was seen, plus a half (Krichevsky and Trofimov)."""
    return constriction.stream.model.Categorical((seen + 0.5) / (seen.sum() + 0.5 * len(seen)), perfect=False)


@cache
def _uniform(count: int) -> Any:
    return constriction.stream.model.Uniform(count)
