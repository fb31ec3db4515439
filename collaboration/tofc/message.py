"""A compressed image on a link: the image's size, where its kind of model needs one, before the stream of its features.

Layout: a varint for each number of the size; the stream (`stream_symbols`) without its checksum; the CRC-32
(little-endian) of all before, seeded with the codec's fingerprint. Without a size, a message is the stream itself.
"""

import zlib

from aiflow.collaboration.tofc.stream_symbols import read_varint, varint
from aiflow.errors import ChecksumError, MessageError, TruncatedError

_CRC = 4


def frame(size: tuple[int, ...], stream: bytes, fingerprint: int) -> bytes:
    """The message of a stream."""
    return _signed(b"".join(map(varint, size)) + stream[:-_CRC], fingerprint)


def unframe(data: bytes, fields: int, fingerprint: int) -> tuple[tuple[int, ...], bytes]:
    """The ``fields`` numbers of the size, and the stream. Raises a ProtocolError for damaged bytes."""
    body = data[:-_CRC]
    if len(body) <= fields:
        raise TruncatedError(f"{len(data)} bytes are no compressed image.")
    if _signed(body, fingerprint) != data:
        raise ChecksumError("the message is damaged, or was made with another codec; send it again or load that codec.")
    size, at = [], 0
    for _ in range(fields):
        number, end = read_varint(body, at)
        size.append(number)
        if varint(number) != body[at:end]:
            raise MessageError("a number of the image's size is longer than it must be.")
        at = end
    return tuple(size), _signed(body[at:], fingerprint)


def _signed(body: bytes, fingerprint: int) -> bytes:
    return body + zlib.crc32(body, fingerprint).to_bytes(_CRC, "little")
