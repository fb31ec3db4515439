"""Features of an image to bytes and back: the codec's networks at both ends of `stream_symbols`.

The device merges and quantises (`Coder.encode`), the server has the merged features as decoded and where they stood
(`Coder.decode`). Knows no vision encoder and no language model.

Legend: N features, C channels of the vision encoder, M tokens, D channels of the basis, E models, Z hyperprior values.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aiflow.collaboration.tofc import laplace
from aiflow.collaboration.tofc.codec import Codec
from aiflow.collaboration.tofc.entropy import Frozen
from aiflow.collaboration.tofc.merging import shares
from aiflow.collaboration.tofc.stream_range import clipped
from aiflow.collaboration.tofc.stream_symbols import TOKENS, VERSION, Symbols, pack, unpack
from aiflow.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Tile:
    """``x_MC``: merged features, float32 on the CPU; ``places_M``: of their centres, ascending, among ``features``."""

    x_MC: Tensor
    places_M: Tensor
    features: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The tiles of an image in their order, and the quality level that they were sent with."""

    tiles: tuple[Tile, ...]
    level: int


class Coder:
    """Codes with a codec as it is now: what is trained later needs another coder.

    Attributes:
        codec: the networks.
        fingerprint: of all that decoding depends on; a stream is read by coders with the same one only.
    """

    def __init__(self, codec: Codec) -> None:
        """Raises InputError for a codec with weights that are not finite."""
        if not all(bool(weight.isfinite().all()) for weight in codec.parameters()):
            raise InputError("a codec with weights that are not finite cannot code; look for what overflowed.")
        self.codec = codec
        self._law = codec.models.frozen()
        self.fingerprint = _fingerprint(codec, self._law)

    @torch.no_grad()
    def encode(self, tiles: Sequence[Tensor], tokens: int, level: int) -> bytes:
        """The bytes of one image.

        Args:
            tiles: features (N_t, C) of each tile.
            tokens: M, how many to keep of all; a tile keeps its share, at least one.
            level: of quality.

        Raises:
            InputError: for tiles of another width, values that are not finite, or a number or level that is not there.
        """
        self.codec.check(level)
        total = sum(len(x_NC) for x_NC in tiles)
        if not 1 <= tokens <= total:
            raise InputError(f"{tokens} tokens of {total} features cannot be kept; give 1 to {total}.")
        features = [len(x_NC) for x_NC in tiles]
        merged = [self._merge(x_NC, share) for x_NC, share in zip(tiles, shares(features, tokens), strict=True)]
        x_MC = torch.cat([x for x, _ in merged])
        return self.encode_merged(x_MC, features, [places for _, places in merged], level)

    @torch.no_grad()
    def encode_merged(
        self, x_MC: Tensor, features: Sequence[int], places: Sequence[Sequence[int]], level: int
    ) -> bytes:
        """The bytes of features merged before: of all tiles, with each tile's number of features and its centres.

        Raises InputError as `encode`, and for places that are not ascending ones of the tile.
        """
        u_MD = self.codec.analyse(x_MC, self.codec.check(level))
        symbols, index_MD = self.symbols(u_MD, features, places, level)
        return pack(symbols, index_MD, self._law, self.fingerprint)

    @torch.no_grad()
    def symbols(
        self, u_MD: Tensor, features: Sequence[int], places: Sequence[Sequence[int]], level: int
    ) -> tuple[Symbols, NDArray[np.int32]]:
        """What a stream says of coordinates ``u_MD`` in steps, and the indices (M, D) of its scales.

        Raises InputError for values that are not finite.
        """
        if not bool(u_MD.isfinite().all()):
            raise InputError("features that are not finite cannot be coded; look for what overflows in the encoder.")
        model_M = self.codec.router(u_MD).argmax(-1).cpu().numpy().astype(np.int32)
        u_MD = u_MD.float().cpu()
        raw_MZ = self._law.analyse(u_MD, model_M, level)
        whole_EZ, table_EZ = self._law.prior(level)
        whole_MZ = whole_EZ[model_M]
        z_MZ = whole_MZ + clipped(raw_MZ - whole_MZ, table_EZ[model_M])
        mean_MD, index_MD = self._law.synthesise(z_MZ, model_M, level)
        k_MD = clipped(u_MD.numpy() - mean_MD, laplace.centred(index_MD))
        symbols = Symbols(
            level=level,
            features=tuple(features),
            places=tuple(map(tuple, places)),
            model_M=model_M,
            z_MZ=z_MZ,
            k_MD=k_MD,
        )
        return symbols, index_MD

    @torch.no_grad()
    def decode(self, data: bytes) -> Decoded:
        """The features of a stream. Raises a ProtocolError for anything but what `encode` gives for this codec."""
        symbols, mean_MD = unpack(data, self._law, self.fingerprint)
        u_MD = torch.from_numpy(mean_MD + symbols.k_MD.astype(np.float32))
        x_MC = self.codec.synthesise(u_MD.to(self.codec.mean.device), symbols.level).float().cpu()
        parts = torch.split(x_MC, [len(places) for places in symbols.places])
        tiles = (
            Tile(x_MC=part, places_M=torch.tensor(places), features=N)
            for part, places, N in zip(parts, symbols.places, symbols.features, strict=True)
        )
        return Decoded(tiles=tuple(tiles), level=symbols.level)

    def _merge(self, x_NC: Tensor, count: int) -> tuple[Tensor, list[int]]:
        width = self.codec.config.channels
        if x_NC.ndim != 2 or x_NC.shape[1] != width or count > TOKENS:
            raise InputError(
                f"a tile {tuple(x_NC.shape)} cannot become {count} tokens of this codec; "
                f"give features (N, {width}) and at most {TOKENS} tokens."
            )
        x_1MC, clusters = self.codec.merge(x_NC[None].to(self.codec.mean.device).float(), count)
        return x_1MC[0], clusters.centres_BM[0].tolist()


def _fingerprint(codec: Codec, law: Frozen) -> int:
    """Checksum of the version, the weights that decoding reads, and the tables of probabilities."""
    weights = [_array(w) for w in (codec.mean, codec.up, *codec.step)]
    found = zlib.crc32(bytes([VERSION]))
    for weight in (*weights, *map(_array, law.weights)):
        found = zlib.crc32(repr(weight.shape).encode(), found)
        found = zlib.crc32(weight.astype("<f4").tobytes(), found)
    for scale in laplace.SCALES:
        found = zlib.crc32(laplace.table(scale).astype("<i4").tobytes(), found)
    return zlib.crc32(law.tables().astype("<i4").tobytes(), found)


def _array(x: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = x.detach().float().cpu().numpy()
    return found
