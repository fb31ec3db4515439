"""Messages between parties: what goes in comes out, and nothing else gets in."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import BaseModel

from aiflow import codec
from aiflow.diffusion.messages import Array, Count, Message, decode, encode, kind, same, shaped
from aiflow.errors import ChecksumError, MessageError, ProtocolError, TruncatedError


class Piece(BaseModel):
    name: str
    start: int


class Latents(Message):
    step: Count
    x: Array
    parts: dict[str, Array] = {}  # noqa: RUF012
    pieces: list[Piece] = []  # noqa: RUF012
    note: str | None = None


class Other(Message):
    pass


def latents(**changes: Any) -> Latents:
    return Latents(**{"request": "r1", "step": 3, "x": np.arange(6, dtype=np.float32).reshape(2, 3)} | changes)


@given(
    step=st.integers(0, 2**40),
    x=arrays.arrays(np.float32, arrays.array_shapes(max_side=4), elements=st.floats(-9, 9, width=32)),
    parts=st.dictionaries(st.text("abc", min_size=1), arrays.arrays(np.uint8, arrays.array_shapes(max_side=3))),
    note=st.none() | st.text(),
)
@settings(max_examples=50, deadline=None)
def test_round_trip(step: int, x: Any, parts: dict[str, Any], note: str | None) -> None:
    sent = latents(step=step, x=x, parts=parts, note=note, pieces=[Piece(name="a", start=1)])
    got = decode(encode(sent), Other, Latents)
    assert isinstance(got, Latents)
    assert (got.step, got.note, got.pieces) == (step, note, [Piece(name="a", start=1)])
    np.testing.assert_array_equal(got.x, x)
    assert got.x.dtype == x.dtype
    assert set(got.parts) == set(parts)
    assert all((got.parts[name] == array).all() for name, array in parts.items())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_on_both_ends(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        latents(x=np.array([1.0, bad], dtype=np.float32))
    raw = codec.encode(kind(Latents), {"request": "r", "step": 0}, {"x": np.array([bad], dtype=np.float32)})
    with pytest.raises(MessageError, match="'x' of a"):
        decode(raw, Latents)


def test_another_kind_a_missing_field_and_one_too_many() -> None:
    with pytest.raises(MessageError, match=r"expected .*Latents, got .*Other"):
        decode(encode(Other(request="r")), Latents)
    with pytest.raises(MessageError, match="'x'"):
        decode(codec.encode(kind(Latents), {"request": "r", "step": 0}), Latents)
    with pytest.raises(MessageError, match="'more'"):
        decode(codec.encode(kind(Other), {"request": "r", "more": 1}), Other)
    with pytest.raises(MessageError, match="'request'"):
        decode(codec.encode(kind(Other), {"request": ""}), Other)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_bytes_are_never_taken(data: st.DataObject) -> None:
    whole = bytearray(encode(latents()))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolError):
        decode(bytes(whole), Latents)


def test_cut_and_flipped_say_so() -> None:
    whole = encode(latents())
    with pytest.raises(TruncatedError):
        decode(whole[:-1], Latents)
    with pytest.raises(ChecksumError):
        decode(whole[:-1] + bytes([whole[-1] ^ 1]), Latents)


def test_hashes_and_shapes_are_compared() -> None:
    same("schedule", "ab", "ab", of="the message")
    with pytest.raises(MessageError, match="the message has the schedule cd, this party ab"):
        same("schedule", "ab", "cd", of="the message")
    shaped("x", np.zeros((2, 3)), (2, None))
    with pytest.raises(MessageError, match=r"x has the shape \(2, 3\), expected \(2, 4\)"):
        shaped("x", np.zeros((2, 3)), (2, 4))
