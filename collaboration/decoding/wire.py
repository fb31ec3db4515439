"""What tiers say to each other while they decode, in as few bytes as it takes: frames of 19 bytes and token ids.

Layout (little-endian): version u8, kind and flags u8, session u32, epoch u16, number u16, base u32, count u8, and the
CRC-32 u32 of everything else; then the payload. A greedy round of four drafts is 31 bytes up. The header of the codec
(`aiflow.codec`) alone is longer; what opens a session goes through it. Frames know no text.
"""

import struct
import zlib
from dataclasses import dataclass, field

from aiflow.collaboration.decoding.sparse import Sparse, pack, unpack
from aiflow.errors import ChecksumError, InputError, MessageError, TruncatedError, VersionError

VERSION = 1
ID_BYTES = 3
MOST = 255
"""Tokens of one frame."""
EPOCHS = NUMBERS = 1 << 16
TOOK = 50e-6
"""Seconds that `Verdict.took` counts."""

_HEADER = struct.Struct("<BBIHHIB")
_CRC = struct.Struct("<I")
_SAME = struct.Struct("<BIHBH")
HEADER_BYTES = _HEADER.size + _CRC.size
VERDICT_BYTES = HEADER_BYTES + _SAME.size + ID_BYTES
"""Of a verdict whose accepted tokens are counted and one is new."""
_DRAFT, _VERDICT, _DRAFT_LAWS = 1, 2, 3
_MORE, _POLL, _EAGER = 0x10, 0x20, 0x40


@dataclass(frozen=True, kw_only=True)
class Draft:
    """From a tier to the one above: its tokens from place ``base`` on, as proposals.

    Attributes:
        session: which one.
        epoch: counts how often the sender took back what it had sent; within an epoch a place keeps its token.
        seen: number of the last verdict that the sender has read; 0: none.
        base: place of the first token.
        ids: the tokens; none says only where the sender is.
        laws: what they were drawn from (soft acceptance), or nothing.
        more: further drafts follow, so that no token beyond these is wanted yet.
        poll: the sender waits; answer, also if nothing is new.
        eager: the receiver should say a token rather than wait for proposals.
        id_bits: of an id in ``laws``.
    """

    session: int
    epoch: int
    seen: int = 0
    base: int
    ids: tuple[int, ...] = ()
    laws: tuple[Sparse, ...] = ()
    more: bool = False
    poll: bool = False
    eager: bool = False
    id_bits: int = field(default=18, compare=False)

    def encode(self) -> bytes:
        """Packs the frame. Raises InputError for more than 255 tokens, or ids that do not fit."""
        payload = bytes([self.id_bits]) + pack(self.laws, self.id_bits) if self.laws else _ids(self.ids)
        kind = (_DRAFT_LAWS if self.laws else _DRAFT) | _MORE * self.more | _POLL * self.poll | _EAGER * self.eager
        return _frame(kind, self.session, self.epoch, self.seen, self.base, len(self.ids), payload)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """From a tier to the one below: what stands from place ``base`` on.

    Attributes:
        session: which one.
        epoch: of the drafts that ``same`` counts.
        number: grows by 1 from 1 on; the receiver drops those that come late.
        base: first place that this is about.
        same: so many tokens from ``base`` on are the receiver's own of that epoch.
        ids: the tokens after them.
        final: tokens below this place are said by the top tier and never change.
        took: units of 50 us that the sender's last round took; 0: unknown.
        heard: the latest draft that came ended ``heard`` places after ``base``; 0: not known.
        age: units of 50 us since it came, so that the receiver can tell the way from the wait.
    """

    session: int
    epoch: int
    number: int
    base: int
    same: int = 0
    ids: tuple[int, ...] = ()
    final: int = 0
    took: int = 0
    heard: int = 0
    age: int = 0

    def encode(self) -> bytes:
        """Packs the frame. Raises InputError for more than 255 tokens, or ids that do not fit."""
        payload = _SAME.pack(self.same, self.final, min(self.took, 0xFFFF), self.heard, min(self.age, 0xFFFF)) + _ids(
            self.ids
        )
        return _frame(_VERDICT, self.session, self.epoch, self.number, self.base, len(self.ids), payload)


def decode(data: bytes) -> Draft | Verdict:
    """Unpacks a frame. Raises a subclass of ProtocolError for anything `encode` does not write."""
    if len(data) < HEADER_BYTES:
        raise TruncatedError(f"{len(data)} bytes are too few for a frame of at least {HEADER_BYTES}.")
    version, tag, session, epoch, number, base, count = _HEADER.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    if zlib.crc32(data[HEADER_BYTES:], zlib.crc32(data[: _HEADER.size])) != crc:
        raise ChecksumError("the checksum of a frame does not match its bytes.")
    if version != VERSION:
        raise VersionError(f"frame version {version}, this side speaks {VERSION}; update the older one.")
    body, kind, flags = data[HEADER_BYTES:], tag & 0x0F, tag & 0xF0
    if kind == _VERDICT and not flags:
        if len(body) < _SAME.size:
            raise MessageError("a verdict without its counts.")
        same, final, took, heard, age = _SAME.unpack_from(body)
        ids = _read_ids(body[_SAME.size :], count)
        head = {"session": session, "epoch": epoch, "number": number, "base": base, "final": final}
        return Verdict(**head, same=same, ids=ids, took=took, heard=heard, age=age)
    if kind not in (_DRAFT, _DRAFT_LAWS) or flags & ~(_MORE | _POLL | _EAGER):
        raise MessageError(f"a frame of the unknown kind {tag:#x}.")
    head = {"session": session, "epoch": epoch, "seen": number, "base": base}
    head |= {"more": bool(flags & _MORE), "poll": bool(flags & _POLL), "eager": bool(flags & _EAGER)}
    if kind == _DRAFT:
        return Draft(**head, ids=_read_ids(body, count))
    laws, id_bits = _read_laws(body, count)
    return Draft(**head, ids=tuple(law.drawn for law in laws), laws=laws, id_bits=id_bits)


def later(a: int, b: int) -> bool:
    """Whether the 16-bit number ``a`` comes after ``b``, wherever the count started."""
    return 0 < (a - b) % NUMBERS < NUMBERS // 2


def _frame(kind: int, session: int, epoch: int, number: int, base: int, count: int, payload: bytes) -> bytes:
    if count > MOST:
        raise InputError(f"{count} tokens do not fit into one frame; send at most {MOST}.")
    head = _HEADER.pack(VERSION, kind, session, epoch % EPOCHS, number % NUMBERS, base, count)
    return head + _CRC.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def _ids(ids: tuple[int, ...]) -> bytes:
    if ids and not 0 <= min(ids) <= max(ids) < 1 << 8 * ID_BYTES:
        raise InputError(f"token ids {min(ids)}..{max(ids)} do not fit into {ID_BYTES} bytes.")
    return b"".join(i.to_bytes(ID_BYTES, "little") for i in ids)


def _read_ids(body: bytes, count: int) -> tuple[int, ...]:
    if len(body) != count * ID_BYTES:
        raise MessageError(f"{len(body)} bytes are not {count} token ids.")
    return tuple(int.from_bytes(body[i : i + ID_BYTES], "little") for i in range(0, len(body), ID_BYTES))


def _read_laws(body: bytes, count: int) -> tuple[tuple[Sparse, ...], int]:
    if not body or not count or not 1 <= body[0] <= 24:
        raise MessageError("a draft with distributions has none.")
    laws, used = unpack(body[1:], count, body[0])
    if used != len(body) - 1:
        raise MessageError(f"{len(body) - 1 - used} bytes too many after the distributions of a draft.")
    return laws, body[0]
