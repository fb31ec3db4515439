"""The one form in which messages cross a link: a versioned header, msgpack fields, raw tensors, a checksum.

Layout (little-endian): ``b"AIFL"``, version u8, flags u8 (0), kind length u16, fields length u32, tensors length u64,
CRC-32 u32 of everything after the header; then kind (UTF-8), fields (msgpack map) and the tensors' raw bytes back to
back. The shapes and dtypes of the tensors stand in the fields under ``"#"``. Never pickle; nothing in a message is
executed. The codec knows bytes, not what a message means.
"""

import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from aiflow.errors import (
    ChecksumError,
    MessageError,
    MessageTooLargeError,
    ProtocolError,
    TruncatedError,
    VersionError,
)

VERSION = 1
MAX_BYTES = 32 * 1024 * 1024
DTYPES = {"f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1"}  # bf16 travels as u2

_MAGIC = b"AIFL"
_HEADER = struct.Struct("<4sBBHIQI")
_TENSORS = "#"


@dataclass(frozen=True, kw_only=True)
class Packet:
    """A decoded message: its kind, its fields (JSON-like values and bytes) and its named arrays."""

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)


def encode(
    kind: str,
    fields: Mapping[str, Any] | None = None,
    tensors: Mapping[str, NDArray[Any]] | None = None,
    limit: int = MAX_BYTES,
) -> bytes:
    """Packs a message. Raises MessageError for a value without an encoding, MessageTooLargeError beyond ``limit``."""
    arrays = {name: _little(name, array) for name, array in (tensors or {}).items()}
    layout = {name: [array.dtype.str[1:], list(array.shape)] for name, array in arrays.items()}
    try:
        packed = msgpack.packb({**(fields or {}), **({_TENSORS: layout} if layout else {})}, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"message {kind!r} holds a value that cannot be sent: {error}") from error
    name = kind.encode()
    body = b"".join([name, packed, *(array.tobytes() for array in arrays.values())])
    total = _HEADER.size + len(body)
    check_size(total, limit)
    raw = len(body) - len(name) - len(packed)
    return _HEADER.pack(_MAGIC, VERSION, 0, len(name), len(packed), raw, zlib.crc32(body)) + body


def decode(data: bytes, kind: str | None = None, limit: int = MAX_BYTES) -> Packet:
    """Unpacks a message and checks everything a stranger could get wrong.

    Arrays are read-only views of ``data``. Raises a subclass of ProtocolError; of ``kind`` when another was expected.
    """
    check_size(len(data), limit)
    body, lengths = _open(data)
    name_end, fields_end = lengths[0], lengths[0] + lengths[1]
    try:
        found = body[:name_end].tobytes().decode()
        fields = msgpack.unpackb(body[name_end:fields_end], raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise MessageError(f"the fields of a message cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise MessageError(f"the fields of a message must be a map, got {type(fields).__name__}")
    if kind is not None and found != kind:
        raise MessageError(f"expected a message of kind {kind!r}, got {found!r}")
    tensors = _tensors(fields.pop(_TENSORS, {}), body[fields_end:])
    return Packet(kind=found, fields=fields, tensors=tensors)


def check_size(size: int, limit: int = MAX_BYTES) -> None:
    """Raises MessageTooLargeError when ``size`` bytes are more than ``limit``."""
    if size > limit:
        raise MessageTooLargeError(
            f"a message of {size:,} bytes exceeds the limit of {limit:,}; send a smaller image or a shorter text."
        )


def _open(data: bytes) -> tuple[memoryview, tuple[int, int]]:
    if len(data) < _HEADER.size:
        raise TruncatedError(f"{len(data)} bytes are too few for a header of {_HEADER.size}")
    magic, version, flags, name, fields, raw, crc = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ProtocolError(f"these bytes are no aiflow message: they begin with {magic!r}")
    if version != VERSION or flags:
        raise VersionError(
            f"message version {version} (flags {flags}), this side speaks {VERSION}; update the older one."
        )
    body = memoryview(data)[_HEADER.size :]
    expected = name + fields + raw
    if len(body) < expected:
        raise TruncatedError(f"{len(body)} of {expected} bytes arrived")
    if len(body) > expected:
        raise MessageError(f"{len(body) - expected} bytes too many")
    if zlib.crc32(body) != crc:
        raise ChecksumError("the checksum of a message does not match its bytes")
    return body, (name, fields)


def _tensors(layout: Any, raw: memoryview) -> dict[str, NDArray[Any]]:
    if not isinstance(layout, dict):
        raise MessageError("the tensor layout of a message must be a map")
    arrays, start = {}, 0
    for name, entry in layout.items():
        dtype, shape = _layout(name, entry)
        size = dtype.itemsize * math.prod(shape)
        if start + size > len(raw):
            raise MessageError(f"tensor {name!r} of shape {shape} needs more bytes than the message holds")
        arrays[name] = np.frombuffer(raw[start : start + size], dtype).reshape(shape)
        start += size
    if start != len(raw):
        raise MessageError(f"{len(raw) - start} tensor bytes belong to no tensor")
    return arrays


def _layout(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    match entry:
        case [str(code), list(shape)] if code in DTYPES and all(type(n) is int and n >= 0 for n in shape):
            return np.dtype("<" + code), tuple(shape)
    raise MessageError(f"tensor {name!r} has the unreadable layout {entry!r}")


def _little(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.str[1:] not in DTYPES:
        raise MessageError(
            f"tensor {name!r} has dtype {array.dtype}, which cannot be sent; use one of {sorted(DTYPES)}"
        )
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
