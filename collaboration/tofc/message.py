"""A compressed image on a link: the image's size, where its kind of model needs one, before the stream of its features.

Layout: a varint for each number of the size; the stream (`stream_symbols`) without its checksum; the CRC-32
(little-endian) of all before, seeded with the codec's fingerprint. Without a size, a message is the stream itself.
"""

import zlib

from aiflow.errors import ChecksumError, MessageError, TruncatedError

_CRC, _MOST = 4, 4  # bytes of the checksum, and of a number at most


def frame(size: tuple[int, ...], stream: bytes, fingerprint: int) -> bytes:
    """The message of a stream."""
    return _signed(b"".join(map(_varint, size)) + stream[:-_CRC], fingerprint)


def unframe(data: bytes, fields: int, fingerprint: int) -> tuple[tuple[int, ...], bytes]:
    """The ``fields`` numbers of the size, and the stream. Raises a ProtocolError for damaged bytes."""
    body = data[:-_CRC]
    if len(body) <= fields:
        raise TruncatedError(f"{len(data)} bytes are no compressed image.")
    if _signed(body, fingerprint) != data:
        raise ChecksumError("the message is damaged, or was made with another codec; send it again or load that codec.")
    size, at = [], 0
    for _ in range(fields):
        end = next((i + 1 for i, byte in enumerate(body[at : at + _MOST], at) if byte < 0x80), None)
        if end is None:
            raise MessageError("a number of the image's size does not end.")
        size.append(sum((byte & 0x7F) << 7 * i for i, byte in enumerate(body[at:end])))
        if _varint(size[-1]) != body[at:end]:
            raise MessageError("a number of the image's size is longer than it must be.")
        at = end
    return tuple(size), _signed(body[at:], fingerprint)


def _signed(body: bytes, fingerprint: int) -> bytes:
    return body + zlib.crc32(body, fingerprint).to_bytes(_CRC, "little")


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
