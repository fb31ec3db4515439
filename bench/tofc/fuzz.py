"""Streams of random numbers, whole and damaged: each is decoded exactly or refused; never garbage, never a crash.

No network takes part: a law with random tables stands for one (`stream_symbols.Law`), so that scales take all values.
A damaged stream whose checksum was put right reaches the inside of the reader. If that is accepted, it has to be what
its content is packed to, which makes it a valid stream of another image.
"""

import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiflow.collaboration.tofc import laplace
from aiflow.collaboration.tofc.stream_range import Reader, Tables, Writer, clipped
from aiflow.collaboration.tofc.stream_symbols import VERSION, Symbols, pack, unpack
from aiflow.errors import ProtocolError

SHAPES = ((1, 1, 1, 1), (2, 3, 5, 4), (4, 8, 16, 4), (3, 2, 40, 20), (255, 4, 8, 200), (4, 16, 48, 3))
"""Of the laws: models, values of the hyperprior, channels, levels."""
SHOWN = 5
"""Failures that a result names."""
_CRC = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomLaw:
    """Scales that depend on hyperprior, model and level in an arbitrary way, and are exact on any machine."""

    models: int
    hyper: int
    levels: int
    whole_EZ: NDArray[np.int32]
    table_EZ: NDArray[np.int32]
    mix_ZD: NDArray[np.int64]

    @classmethod
    def draw(cls, rng: np.random.Generator, shape: tuple[int, int, int, int]) -> "RandomLaw":
        """A law of a shape as in ``SHAPES``; some values of the hyperprior have extreme scales and means."""
        E, Z, D, Q = shape
        mean, scale = rng.normal(0, 10, (E, Z)), np.exp(rng.uniform(-5, 5, (E, Z)))
        whole_EZ, table_EZ = laplace.shifted(mean, scale)
        return cls(
            models=E, hyper=Z, levels=Q, whole_EZ=whole_EZ, table_EZ=table_EZ, mix_ZD=rng.integers(-9, 9, (Z, D))
        )

    def prior(self, level: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The same at all levels, but for a shift."""
        return self.whole_EZ + level, self.table_EZ

    def synthesise(
        self, z_MZ: NDArray[np.int32], model_M: NDArray[np.int32], level: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Means of 0; indices from 0 to 63 with many at both ends."""
        index_MD = (z_MZ @ self.mix_ZD + 7 * model_M[:, None] + level) % (2 * laplace.COUNT) - laplace.COUNT // 2
        return np.zeros(index_MD.shape, np.float32), np.clip(index_MD, 0, laplace.COUNT - 1).astype(np.int32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A valid stream and what it says."""

    law: RandomLaw
    fingerprint: int
    symbols: Symbols
    data: bytes


def draw(rng: np.random.Generator, law: RandomLaw, fingerprint: int = 1) -> Case:
    """A random image's stream; ``fingerprint`` should be the law's own."""
    level = int(rng.integers(law.levels))
    features = tuple(int(n) for n in rng.integers(1, rng.choice([4, 64, 800]), rng.choice([1, 1, 1, 2, 5])))
    counts = [int(rng.integers(1, min(n, rng.choice([2, 9])) + 1)) for n in features]
    places = [sorted(rng.permutation(n)[:m].tolist()) for n, m in zip(features, counts, strict=True)]
    model_M = rng.integers(law.models, size=sum(counts)).astype(np.int32)
    whole_EZ, table_EZ = law.prior(level)
    z_MZ = whole_EZ[model_M] + values(rng, table_EZ[model_M])
    _, index_MD = law.synthesise(z_MZ, model_M, level)
    symbols = Symbols(
        level=level,
        features=features,
        places=tuple(map(tuple, places)),
        model_M=model_M,
        z_MZ=z_MZ,
        k_MD=values(rng, laplace.centred(index_MD)),
    )
    return Case(law=law, fingerprint=fingerprint, symbols=symbols, data=pack(symbols, index_MD, law, fingerprint))


def values(rng: np.random.Generator, tables: NDArray[np.int32]) -> NDArray[np.int32]:
    """Values in the support of each table: as it expects them, anywhere, or at the ends."""
    scale = np.asarray(laplace.SCALES)[tables // laplace.PARTS]
    kind = rng.integers(4)
    if kind == 0:
        return clipped(rng.uniform(-1, 1, tables.shape) * 2000, tables)
    if kind == 1:
        return clipped(rng.choice([-1e9, 0.0, 1e9], tables.shape), tables)
    return clipped(rng.laplace(0, scale), tables)


def arrays(rng: np.random.Generator) -> bool:
    """Whether an array of random length, at times empty, under random tables comes back from the range coder."""
    tables = rng.integers(0, laplace.TABLES, rng.integers(0, rng.choice([2, 20, 200]))).astype(np.int32)
    written, count = values(rng, tables), int(rng.integers(1, 1 << 16))
    number = int(rng.integers(count))
    writer = Writer()
    writer.laplace(written, Tables(tables))
    writer.number(number, count)
    reader = Reader(writer.finish())
    return np.array_equal(reader.laplace(Tables(tables)), written) and reader.number(count) == number


def flip(rng: np.random.Generator, case: Case, _: Case) -> bytes:
    """One bit."""
    return _flipped(rng, case.data, 1)


def flips(rng: np.random.Generator, case: Case, _: Case) -> bytes:
    """Some bits."""
    return _flipped(rng, case.data, int(rng.integers(2, 20)))


def truncate(rng: np.random.Generator, case: Case, _: Case) -> bytes:
    """A part from the start."""
    return case.data[: rng.integers(len(case.data))]


def extend(rng: np.random.Generator, case: Case, _: Case) -> bytes:
    """More bytes, often zeros."""
    tail = rng.bytes(int(rng.integers(1, 9)))
    return case.data + (bytes(len(tail)) if rng.integers(2) else tail)


def splice(rng: np.random.Generator, case: Case, other: Case) -> bytes:
    """The start of one stream, the end of another."""
    return case.data[: rng.integers(1, len(case.data))] + other.data[rng.integers(len(other.data)) :]


def swap(rng: np.random.Generator, case: Case, _: Case) -> bytes:
    """Two bytes exchanged."""
    data = bytearray(case.data)
    a, b = rng.integers(len(data), size=2)
    data[a], data[b] = data[b], data[a]
    return bytes(data)


def foreign(rng: np.random.Generator, case: Case, _: Case) -> bytes:
    """A whole stream of another codec of the same sizes."""
    return draw(rng, case.law, case.fingerprint + 1 + int(rng.integers(1 << 30))).data


def head(rng: np.random.Generator, case: Case, _: Case) -> bytes:
    """A random header, possibly absurd, before the stream's own body or random bytes."""
    data = bytearray([VERSION << 4 | int(rng.integers(16))])
    for _i in range(int(rng.integers(1, 5))):
        number = int(2 ** rng.uniform(0, rng.choice([6, 10, 40])))
        while number > 0x7F:
            data.append(number & 0x7F | 0x80)
            number >>= 7
        data.append(number)
    body = case.data[3:-_CRC] if rng.integers(2) else rng.bytes(int(rng.integers(0, 60)))
    return bytes(data) + body + bytes(_CRC)


def noise(rng: np.random.Generator, _case: Case, _: Case) -> bytes:
    """Random bytes, mostly of this version."""
    start = bytes([VERSION << 4 | int(rng.integers(4))]) if rng.integers(4) else b""
    return start + rng.bytes(int(rng.integers(0, 200)))


Damage = Callable[[np.random.Generator, Case, Case], bytes]
OUTSIDE: tuple[Damage, ...] = (flip, flips, truncate, extend, splice, swap, foreign, noise)
INSIDE: tuple[Damage, ...] = (flip, flips, truncate, extend, splice, swap, head, noise)
"""These get a right checksum."""


def fuzz(count: int, seed: int = 0) -> dict[str, Any]:
    """Codes ``count`` random images and arrays, and damages each image's stream once.

    Returns counts: ``exact`` round trips, ``refused`` streams by damage and error, ``unchanged`` ones (damage that did
    nothing), ``valid`` (damaged, given a right checksum, and found to be another image's stream), ``failures`` with the
    first few described, and seconds.
    """
    began = time.perf_counter()
    laws = [RandomLaw.draw(np.random.default_rng([seed, i]), shape) for i, shape in enumerate(SHAPES)]
    found: Counter[str] = Counter()
    refused: dict[str, Counter[str]] = {}
    failures: list[str] = []
    other: Case | None = None
    for i in range(count):
        rng = np.random.default_rng([seed, len(SHAPES), i])
        which = int(rng.integers(len(laws)))
        case = draw(rng, laws[which], 1 + which)
        outcome = _whole(case, rng)
        if outcome is None:
            found["exact"] += 1
        else:
            failures.append(f"case {i}: {outcome}")
        inside = bool(rng.integers(2))
        damage = rng.choice(np.array(INSIDE if inside else OUTSIDE, dtype=object))
        name = ("inside " if inside else "outside ") + damage.__name__
        data = damage(rng, case, other or case)
        data = _signed(data, case.fingerprint) if inside else data
        outcome = _damaged(case, data, inside or data == (other or case).data)
        if outcome in ("unchanged", "valid"):
            found[outcome] += 1
        elif outcome.startswith("!"):
            failures.append(f"case {i}, {name}: {outcome[1:]}")
        else:
            refused.setdefault(name, Counter())[outcome] += 1
        other = case
    return {
        "streams": count,
        "seed": seed,
        "exact": found["exact"],
        "unchanged": found["unchanged"],
        "valid": found["valid"],
        "refused": {name: dict(errors) for name, errors in sorted(refused.items())},
        "failures": len(failures),
        "first_failures": failures[:SHOWN],
        "seconds": time.perf_counter() - began,
    }


def _whole(case: Case, rng: np.random.Generator) -> str | None:
    """What is wrong with a round trip."""
    try:
        if unpack(case.data, case.law, case.fingerprint)[0] != case.symbols:
            return "an image comes back as another"
        return None if arrays(rng) else "an array comes back as another"
    except BaseException as error:  # noqa: BLE001 - crashes are what is looked for
        return _crash(error)


def _damaged(case: Case, data: bytes, plausible: bool) -> str:
    """The name of the error, "unchanged", "valid" (may be so only if ``plausible``), or "!" and what is wrong."""
    try:
        symbols, _ = unpack(data, case.law, case.fingerprint)
    except ProtocolError as error:
        return type(error).__name__
    except BaseException as error:  # noqa: BLE001 - crashes are what is looked for
        return "!" + _crash(error)
    if data == case.data:
        return "unchanged" if symbols == case.symbols else "!an image comes back as another"
    if not plausible:
        return "!garbage is accepted"
    _, index_MD = case.law.synthesise(symbols.z_MZ, symbols.model_M, symbols.level)
    same = pack(symbols, index_MD, case.law, case.fingerprint) == data
    return "valid" if same else "!what is accepted is not what its content is packed to"


def _crash(error: BaseException) -> str:
    """A panic of the range coder is no Exception; what ends the process goes on."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error
    return f"{type(error).__name__}: {error}"


def _flipped(rng: np.random.Generator, data: bytes, count: int) -> bytes:
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    bits[rng.choice(len(bits), min(count, len(bits)), replace=False)] ^= 1
    return np.packbits(bits).tobytes()


def _signed(data: bytes, fingerprint: int) -> bytes:
    body = data[:-_CRC]
    return body + zlib.crc32(body, fingerprint).to_bytes(_CRC, "little")
