"""The layout of a compressed image: whole numbers to bytes and back; knows no layers.

Layout: version and level (a nibble each; level 15 and above: 15, then a varint of the rest); of each tile the varints N
and 2 M + (1 if a tile follows); bytes of one range coder; CRC-32 (little-endian) of all before, seeded with the
codec's fingerprint, so that another codec's stream is refused. In the range coder, in this order: the set of centres of
each tile, the tokens' entropy models (adaptively), the hyperpriors, a checksum of the scales that both ends derive from
these, the quantised channels. Missing bytes at the end of the range coder are zeros.

Legend: T tiles, N features and M tokens of a tile or of all tiles, Z values of the hyperprior, D channels, E models.
"""

import math
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aiflow.collaboration.tofc import laplace
from aiflow.collaboration.tofc.stream_range import DIGIT, Reader, Tables, Writer, rank, unrank
from aiflow.errors import (
    ChecksumError,
    InputError,
    MessageError,
    MessageTooLargeError,
    ProtocolError,
    TruncatedError,
    VersionError,
)

VERSION = 1
TILES, FEATURES, TOKENS = 64, 1 << 14, 1 << 12
"""The most tiles of a stream, features of a tile, and tokens of a stream."""
LARGEST = 1 << 25
"""Bytes of a stream."""
_CRC = 4
_LEVEL = 15


class Law(Protocol):
    """What both ends know (`entropy.Frozen`)."""

    @property
    def models(self) -> int:
        """E."""

    @property
    def hyper(self) -> int:
        """Z."""

    @property
    def levels(self) -> int:
        """Q."""

    def prior(self, level: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Of the hyperprior's values (E, Z): what to subtract, and the table of the rest."""

    def synthesise(
        self, z_MZ: NDArray[np.int32], model_M: NDArray[np.int32], level: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Means (M, D) and indices (M, D) into ``laplace.SCALES``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Symbols:
    """What a stream says.

    Attributes:
        level: of quality.
        features: N of each tile.
        places: of each tile, the centres among its features, ascending.
        model_M: entropy model of each token.
        z_MZ: its hyperprior.
        k_MD: its channels, less their means, in steps.
    """

    level: int
    features: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]
    model_M: NDArray[np.int32]
    z_MZ: NDArray[np.int32]
    k_MD: NDArray[np.int32]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Symbols)
            and (self.level, self.features, self.places) == (other.level, other.features, other.places)
            and all(np.array_equal(getattr(self, n), getattr(other, n)) for n in ("model_M", "z_MZ", "k_MD"))
        )


def pack(symbols: Symbols, index_MD: NDArray[np.int32], law: Law, fingerprint: int) -> bytes:
    """Bytes of symbols whose scales are ``index_MD``. Raises InputError for what the layout does not hold."""
    _check(symbols, index_MD, law)
    z_tables = Tables(law.prior(symbols.level)[1][symbols.model_M])
    return _pack(symbols, z_tables, Tables(laplace.centred(index_MD)), _digest(index_MD), law, fingerprint)


def unpack(data: bytes, law: Law, fingerprint: int) -> tuple[Symbols, NDArray[np.float32]]:
    """The symbols of a stream and the means (M, D). Raises a ProtocolError for anything that `pack` never gives."""
    level, sizes, start = _head(data, law, fingerprint)
    reader = Reader(data[start:-_CRC])
    places = tuple(unrank(reader.number(math.comb(N, M)), M, N) for N, M in sizes)
    model_M = reader.adaptive(sum(M for _, M in sizes), law.models)
    whole_EZ, table_EZ = law.prior(level)
    z_tables = Tables(table_EZ[model_M])
    z_MZ = reader.laplace(z_tables) + whole_EZ[model_M]
    mean_MD, index_MD = law.synthesise(z_MZ, model_M, level)
    digest = _digest(index_MD)
    if reader.number(DIGIT) != digest:
        raise MessageError("the scales differ from the sender's: its codec or its arithmetic is another; use the same.")
    k_tables = Tables(laplace.centred(index_MD))
    k_MD = reader.laplace(k_tables)
    features = tuple(N for N, _ in sizes)
    symbols = Symbols(level=level, features=features, places=places, model_M=model_M, z_MZ=z_MZ, k_MD=k_MD)
    if _pack(symbols, z_tables, k_tables, digest, law, fingerprint) != data:
        raise MessageError("the stream is not what its own content is packed to; the sender is faulty.")
    return symbols, mean_MD


def _pack(symbols: Symbols, z_tables: Tables, k_tables: Tables, digest: int, law: Law, fingerprint: int) -> bytes:
    data = bytearray([VERSION << 4 | min(symbols.level, _LEVEL)])
    if symbols.level >= _LEVEL:
        data += varint(symbols.level - _LEVEL)
    writer, more = Writer(), len(symbols.places)
    for N, places in zip(symbols.features, symbols.places, strict=True):
        more -= 1
        data += varint(N) + varint(2 * len(places) + bool(more))
        writer.number(rank(places), math.comb(N, len(places)))
    writer.adaptive(symbols.model_M, law.models)
    writer.laplace(symbols.z_MZ - law.prior(symbols.level)[0][symbols.model_M], z_tables)
    writer.number(digest, DIGIT)
    writer.laplace(symbols.k_MD, k_tables)
    data += writer.finish()
    return bytes(data + zlib.crc32(data, fingerprint).to_bytes(_CRC, "little"))


def _head(data: bytes, law: Law, fingerprint: int) -> tuple[int, list[tuple[int, int]], int]:
    """Level, (N, M) of each tile, and where the range coder's bytes start."""
    if len(data) > LARGEST:
        raise MessageTooLargeError(f"a stream of {len(data)} bytes; at most {LARGEST} are read.")
    if len(data) < 3 + _CRC:
        raise TruncatedError(f"{len(data)} bytes are no compressed image, which has at least {3 + _CRC}.")
    if data[0] >> 4 != VERSION:
        raise VersionError(f"stream version {data[0] >> 4}, this side reads {VERSION}; update the older one.")
    body = data[:-_CRC]
    if zlib.crc32(body, fingerprint) != int.from_bytes(data[-_CRC:], "little"):
        raise ChecksumError("the stream is damaged, or was made with another codec; send it again or load that codec.")
    level, at = data[0] & 0xF, 1
    if level == _LEVEL:
        rest, at = read_varint(body, at)
        level += rest
    if level >= law.levels:
        raise MessageError(f"level {level} of a codec that has {law.levels}.")
    sizes, more = [], 1
    while more:
        N, at = read_varint(body, at)
        twice, at = read_varint(body, at)
        M, more = divmod(twice, 2)
        sizes.append((N, M))
        _limits(sizes, MessageError)
    return level, sizes, at


def _check(symbols: Symbols, index_MD: NDArray[np.int32], law: Law) -> None:
    sizes = [(N, len(places)) for N, places in zip(symbols.features, symbols.places, strict=True)]
    _limits(sizes, InputError)
    M = sum(M for _, M in sizes)
    shapes = (symbols.model_M.shape, symbols.z_MZ.shape, symbols.k_MD.shape)
    if shapes != ((M,), (M, law.hyper), index_MD.shape) or len(index_MD) != M:
        raise InputError(f"arrays {shapes} with scales {index_MD.shape} for {M} tokens; give all of them.")
    for N, places in zip(symbols.features, symbols.places, strict=True):
        if not 0 <= places[0] <= places[-1] < N or any(a >= b for a, b in pairwise(places)):
            raise InputError(f"centres {places} are not ascending places of {N} features.")
    if not 0 <= symbols.level < law.levels or not 0 <= symbols.model_M.min() <= symbols.model_M.max() < law.models:
        raise InputError(
            f"level {symbols.level} or a model of {sorted({*symbols.model_M.tolist()})} is not there; "
            f"there are {law.levels} levels and {law.models} models."
        )


def _limits(sizes: list[tuple[int, int]], error: type[InputError] | type[ProtocolError]) -> None:
    fits = all(1 <= M <= N <= FEATURES for N, M in sizes)
    if not fits or not 1 <= len(sizes) <= TILES or sum(M for _, M in sizes) > TOKENS:
        raise error(
            f"tiles with (features, tokens) {sizes[-TILES:]}; a stream has 1 to {TILES} tiles of at most {FEATURES} "
            f"features, and 1 to that many tokens each, {TOKENS} in all."
        )


def _digest(index_MD: NDArray[np.int32]) -> int:
    return zlib.crc32(index_MD.astype(np.uint8).tobytes()) % DIGIT


def varint(number: int) -> bytes:
    """Seven bits of a number in each byte, the lowest first; the highest bit says that another follows."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number below 2**28 and the place behind it. Raises a ProtocolError for one that does not end."""
    number = 0
    for shift in range(0, 28, 7):
        if at + shift // 7 >= len(data):
            raise TruncatedError("the stream ends within a number of its header.")
        byte = data[at + shift // 7]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at + shift // 7 + 1
    raise MessageError("a number in the stream's header is too long.")
