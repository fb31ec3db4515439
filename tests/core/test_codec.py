"""The codec round-trips everything it may carry and refuses everything else without side effects."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow import codec
from aiflow.errors import (
    ChecksumError,
    MessageError,
    MessageTooLargeError,
    ProtocolError,
    TruncatedError,
    VersionError,
)

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)
FIELDS = st.dictionaries(
    st.text().filter(lambda k: k != "#"),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)),
    max_size=5,
)


@given(kind=st.text(max_size=20), fields=FIELDS)
@settings(max_examples=200, deadline=None)
def test_fields_come_back_equal(kind, fields):
    packet = codec.decode(codec.encode(kind, fields))
    assert (packet.kind, packet.fields) == (kind, fields)


@pytest.mark.parametrize("dtype", sorted(codec.DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_tensors_come_back_bit_equal(dtype, shape):
    raw = np.random.default_rng(0).integers(0, 2, size=shape)
    array = np.asarray(raw).astype(dtype)
    back = codec.decode(codec.encode("t", {}, {"x": array, "y": array.T})).tensors
    assert back["x"].dtype == array.dtype
    assert back["x"].shape == array.shape
    assert np.array_equal(back["x"], array)
    assert np.array_equal(back["y"], array.T)


def test_big_endian_arrays_travel_little_endian():
    array = np.arange(4, dtype=">f4")
    assert np.array_equal(codec.decode(codec.encode("t", {}, {"x": array})).tensors["x"], array)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damage_is_always_detected(data):
    whole = bytearray(codec.encode("ask", {"text": "hello", "n": 3}, {"x": np.arange(5, dtype="f4")}))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(ProtocolError):
        codec.decode(bytes(whole))


@given(cut=st.integers(0, 120))
def test_truncation_is_named(cut):
    whole = codec.encode("ask", {"text": "x" * 120})
    with pytest.raises(TruncatedError):
        codec.decode(whole[:cut])


@given(noise=st.binary(max_size=200))
def test_noise_is_refused(noise):
    with pytest.raises(ProtocolError):
        codec.decode(noise)


def _forged(fields: bytes, raw: bytes = b"") -> bytes:
    import zlib

    body = b"k" + fields + raw
    return struct.pack("<4sBBHIQI", b"AIFL", codec.VERSION, 0, 1, len(fields), len(raw), zlib.crc32(body)) + body


@pytest.mark.parametrize(
    "fields",
    [
        b"\x91\x01",  # a list, no map
        b"\xc1",  # no msgpack at all
        b"\x81\x01\x02",  # an integer key
        b"\x81\xa1#\x01",  # a layout that is no map
        b"\x81\xa1#\x81\xa1x\x92\xa2O8\x91\x01",  # an object dtype
        b"\x81\xa1#\x81\xa1x\x92\xa2f4\x91\xff",  # a negative length
        b"\x81\xa1#\x81\xa1x\x92\xa2f4\x91\x02",  # more elements than bytes
    ],
)
def test_forged_messages_with_a_right_checksum_are_refused(fields):
    with pytest.raises(MessageError):
        codec.decode(_forged(fields, b"\0" * 4))


def test_each_refusal_has_its_class():
    whole = codec.encode("ask", {"text": "hello"})
    with pytest.raises(VersionError, match="version 9"):
        codec.decode(whole[:4] + b"\x09" + whole[5:])
    with pytest.raises(ChecksumError):
        codec.decode(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(MessageError, match="expected a message of kind 'answer', got 'ask'"):
        codec.decode(whole, kind="answer")
    with pytest.raises(MessageError, match="1 bytes too many"):
        codec.decode(whole + b"\0")


def test_sizes_are_limited_on_both_sides():
    with pytest.raises(MessageTooLargeError, match="50,000,0"):
        codec.encode("ask", {"image": bytes(50_000_000)})
    with pytest.raises(MessageTooLargeError):
        codec.decode(bytes(100), limit=99)


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**80])
def test_values_without_an_encoding_are_refused(value):
    with pytest.raises(MessageError, match="cannot be sent"):
        codec.encode("ask", {"x": value})


def test_object_arrays_are_refused():
    with pytest.raises(MessageError, match="dtype object"):
        codec.encode("t", {}, {"x": np.array([object()])})
