"""Frames and the distributions in them: every one comes back, none is longer than it must be, no damage is believed."""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.collaboration.decoding import sparse as sparse_module
from aiflow.collaboration.decoding import wire
from aiflow.collaboration.decoding.sparse import STEPS, Sparse, pack, sparse, unpack
from aiflow.collaboration.decoding.wire import HEADER_BYTES, Draft, Verdict, decode, later
from aiflow.errors import ChecksumError, InputError, MessageError, ProtocolError, TruncatedError, VersionError

QWEN = 151_936
u16, u32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
tokens = st.lists(st.integers(0, 2**24 - 1), max_size=20).map(tuple)


@st.composite
def distributions(draw: st.DrawFn, id_bits: int) -> Sparse:
    most = min(2**id_bits, 12)
    ids = draw(st.lists(st.integers(0, 2**id_bits - 1), min_size=1, max_size=most, unique=True))
    inner = st.lists(st.integers(1, STEPS - 1), min_size=len(ids) - 1, max_size=len(ids) - 1, unique=True)
    edges = [0, *sorted(draw(inner)), STEPS]
    return Sparse(tuple(ids), tuple(np.diff(edges).tolist()))


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    id_bits = draw(st.integers(1, 24))
    laws = tuple(draw(st.lists(distributions(id_bits), max_size=5)))
    ids = tuple(law.drawn for law in laws) or draw(tokens)
    flags = {name: draw(st.booleans()) for name in ("more", "poll", "eager")}
    numbers = {"session": draw(u32), "epoch": draw(u16), "seen": draw(u16), "base": draw(u32)}
    return Draft(**numbers, **flags, ids=ids, laws=laws, id_bits=id_bits if laws else 18)


verdicts = st.builds(
    Verdict,
    session=u32,
    epoch=u16,
    number=u16,
    base=u32,
    same=st.integers(0, 255),
    ids=tokens,
    final=u32,
    took=u16,
    heard=st.integers(0, 255),
    age=u16,
)


@settings(max_examples=300, deadline=None)
@given(drafts() | verdicts)
def test_frames_come_back(message: Draft | Verdict) -> None:
    found = decode(message.encode())
    assert found == message
    assert type(found) is type(message)
    if isinstance(found, Draft) and isinstance(message, Draft):
        assert found.id_bits == message.id_bits


def test_the_largest_frames_come_back() -> None:
    ids = tuple(range(2**24 - 255, 2**24))
    top: dict[str, Any] = {"session": 2**32 - 1, "epoch": 2**16 - 1, "base": 2**32 - 1, "ids": ids}
    for message in (Draft(**top), Verdict(**top, number=2**16 - 1, same=255, final=2**32 - 1, took=2**16 - 1)):
        assert decode(message.encode()) == message
    long = Verdict(session=1, epoch=0, number=1, base=0, took=10**9, age=10**9)
    assert decode(long.encode()) == replace(long, took=2**16 - 1, age=2**16 - 1)


# Fact 16.


def law_of(size: int, vocabulary: int = QWEN) -> Sparse:
    rng = np.random.default_rng(size)
    return sparse(np.log(rng.dirichlet(np.full(vocabulary, 0.5))), size)


def test_a_greedy_round_of_four_is_31_bytes() -> None:
    assert HEADER_BYTES == 19
    assert len(Draft(session=1, epoch=2, base=3, ids=(QWEN - 1,) * 4).encode()) == 31 <= 32
    assert len(Draft(session=1, epoch=2, base=3).encode()) == 19
    # All four accepted and one more.
    assert len(Verdict(session=1, epoch=2, number=1, base=3, same=4, ids=(7,), final=8).encode()) == 32


@pytest.mark.parametrize(("keep", "size"), [(8, 34), (16, 68), (32, 136), (64, 272)])
def test_a_distribution_of_k_ids_is_as_long_as_its_bits(keep: int, size: int) -> None:
    id_bits = (QWEN - 1).bit_length()
    assert id_bits == 18
    law = law_of(keep)
    assert len(law.ids) == keep
    assert len(pack([law], id_bits)) == 1 + size
    for count in (1, 4):
        frame = Draft(session=1, epoch=0, base=9, ids=(law.drawn,) * count, laws=(law,) * count, id_bits=id_bits)
        assert len(frame.encode()) == HEADER_BYTES + 1 + count * (1 + size)
    dense = np.zeros(QWEN, dtype=np.float16).nbytes
    assert dense == 303_872
    assert dense / (1 + size) > 1000


# Damage.

FRAMES = [
    Draft(session=7, epoch=3, seen=9, base=12, ids=(1, 70_000, 5, 2), more=True),
    Draft(session=7, epoch=3, base=12, poll=True),
    Draft(session=7, epoch=3, base=4, ids=(9, 2), laws=(Sparse((9, 3), (STEPS - 5, 5)), Sparse((2,), (STEPS,)))),
    Verdict(session=7, epoch=3, number=2, base=12, same=3, ids=(4, 99), final=14, took=300, heard=4, age=7),
]
each_frame = pytest.mark.parametrize("message", FRAMES, ids=["draft", "poll", "laws", "verdict"])


@each_frame
def test_a_flipped_bit_is_refused(message: Draft | Verdict) -> None:
    data = message.encode()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            decode(bytes(damaged))


@each_frame
def test_a_frame_that_is_cut_or_too_long_is_refused(message: Draft | Verdict) -> None:
    data = message.encode()
    for length in range(len(data)):
        with pytest.raises(TruncatedError if length < HEADER_BYTES else ChecksumError):
            decode(data[:length])
        with pytest.raises(ProtocolError):
            decode(sealed(data[:length]))
    for more in (b"\0", b"\0\0\0", data):
        with pytest.raises(ChecksumError):
            decode(data + more)
        with pytest.raises(MessageError):
            decode(sealed(data + more))


def sealed(data: bytes) -> bytes:
    """The same bytes with a checksum that fits, as a sender with wrong ideas would make it."""
    head, payload = data[:15], data[HEADER_BYTES:]
    return head + struct.pack("<I", zlib.crc32(head + payload)) + payload if len(data) >= HEADER_BYTES else data


def changed(data: bytes, at: int, value: int) -> bytes:
    return sealed(data[:at] + bytes([value]) + data[at + 1 :])


@each_frame
def test_seals_of_this_test_are_those_of_the_wire(message: Draft | Verdict) -> None:
    assert sealed(message.encode()) == message.encode()


@each_frame
def test_other_versions_are_refused(message: Draft | Verdict) -> None:
    for version in (0, 2, 255):
        with pytest.raises(VersionError, match=f"version {version}"):
            decode(changed(message.encode(), 0, version))


@each_frame
def test_unknown_kinds_flags_and_counts_are_refused(message: Draft | Verdict) -> None:
    data = message.encode()
    for tag in range(256):
        known = tag & 0x0F in (1, 3) and not tag & 0x80
        if not known and tag != 2:
            with pytest.raises(MessageError):
                decode(changed(data, 1, tag))
    for count in set(range(256)) - {len(message.ids)}:
        with pytest.raises(MessageError):
            decode(changed(data, 14, count))


def test_the_kinds_are_not_taken_for_each_other() -> None:
    draft, _, laws, verdict = (message.encode() for message in FRAMES)
    for data, tags in ((draft, (2, 3)), (laws, (1, 2)), (verdict, (1, 3))):
        for tag in tags:
            with pytest.raises(MessageError):
                decode(changed(data, 1, tag))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([1, 2, 3, 0x13, 0x21]))
def test_bytes_of_any_kind_are_a_frame_or_refused(body: bytes, tag: int) -> None:
    for data in (body, sealed(bytes([1, tag]) + body)):
        try:
            message = decode(data)
        except ProtocolError:
            continue
        assert decode(message.encode()) == message


def test_what_does_not_fit_is_not_sent() -> None:
    head: dict[str, Any] = {"session": 1, "epoch": 0, "base": 0}
    for ids, match in (((1,) * 256, "256 tokens"), ((2**24,), "16777216"), ((3, -1), "-1")):
        with pytest.raises(InputError, match=match):
            Draft(**head, ids=ids).encode()
        with pytest.raises(InputError, match=match):
            Verdict(**head, number=1, ids=ids).encode()


def test_laws_that_do_not_fit_are_not_sent() -> None:
    wide, long = Sparse((5,), (STEPS,)), Sparse(tuple(range(256)), (1,) * 255 + (STEPS - 255,))
    for law, id_bits in ((wide, 2), (long, 18)):
        with pytest.raises(InputError):
            Draft(session=1, epoch=0, base=0, ids=(law.drawn,), laws=(law,), id_bits=id_bits).encode()


# Numbers that wrap.


@given(u16, st.integers(1, 2**15 - 1))
def test_later_wraps(a: int, ahead: int) -> None:
    b = (a + ahead) % 2**16
    assert later(b, a)
    assert not later(a, b)
    assert not later(a, a)
    opposite = (a + 2**15) % 2**16
    assert not (later(a, opposite) and later(opposite, a))


def test_numbers_beyond_16_bits_wrap_in_frames() -> None:
    assert decode(Draft(session=1, epoch=2**16 + 5, base=0).encode()) == Draft(session=1, epoch=5, base=0)
    assert later(wire.EPOCHS + 1, wire.EPOCHS - 1)


# Sparse distributions.


@st.composite
def log_probs(draw: st.DrawFn) -> Any:
    values = draw(st.lists(st.floats(-40, 40) | st.just(-np.inf), min_size=1, max_size=40))
    values[draw(st.integers(0, len(values) - 1))] = draw(st.floats(-40, 40))
    return np.array(values)


@settings(max_examples=300)
@given(log_probs(), st.integers(1, 45))
def test_a_sparse_law_is_a_law_of_the_most_probable(logp: Any, keep: int) -> None:
    law = sparse(logp, keep)
    assert sum(law.counts) == STEPS
    assert min(law.counts) > 0
    assert len(law.ids) == len(set(law.ids)) <= min(keep, len(logp))
    assert list(law.counts) == sorted(law.counts, reverse=True)
    assert [*logp[list(law.ids)]] == sorted(logp, reverse=True)[: len(law.ids)]
    kept = np.sort(np.exp(logp - logp.max()))[::-1][:keep]
    exact = kept / kept.sum() * STEPS
    assert np.abs(np.array(law.counts) - exact[: len(law.ids)]).max() < 1
    assert (exact[len(law.ids) :] < 1).all()
    dense = law.dense(len(logp))
    assert dense.sum() == pytest.approx(1, abs=1e-12)
    assert set(np.flatnonzero(dense)) == set(law.ids)


def lattice(total: int, size: int) -> Iterator[tuple[int, ...]]:
    for bars in combinations(range(total + size - 1), size - 1):
        edges = (-1, *bars, total + size - 1)
        yield tuple(b - a - 1 for a, b in pairwise(edges))


@pytest.mark.parametrize("seed", range(20))
def test_a_sparse_law_is_the_nearest_of_its_lattice(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_module, "STEPS", 9)
    rng = np.random.default_rng(seed)
    logp = np.log(rng.dirichlet(np.full(4, 0.7)))
    law = sparse(logp, 4)
    counts = np.zeros(4)
    counts[list(law.ids)] = law.counts
    exact = np.exp(logp) / np.exp(logp).sum() * 9
    for power in (1, 2):
        best = min((np.abs(np.array(point) - exact) ** power).sum() for point in lattice(9, 4))
        assert (np.abs(counts - exact) ** power).sum() == pytest.approx(best)


def test_of_equals_the_lowest_ids_are_kept_and_get_what_is_left() -> None:
    assert sparse(np.zeros(5), 2) == Sparse((0, 1), (32768, 32767))
    assert sparse(np.array([0.0, 1.0, 1.0, 1.0]), 2).ids == (1, 2)
    assert sparse(np.array([-np.inf, 0.0, -50.0]), 3) == Sparse((1,), (STEPS,))
    for keep in (0, -1):
        with pytest.raises(InputError, match=f"keep={keep}"):
            sparse(np.zeros(3), keep)


def test_the_drawn_token_goes_first_and_the_law_stays() -> None:
    law = Sparse((4, 1, 7), (STEPS - 3, 2, 1))
    for token in law.ids:
        moved = law.first(token)
        assert moved.drawn == token
        assert dict(zip(moved.ids, moved.counts, strict=True)) == dict(zip(law.ids, law.counts, strict=True))
    with pytest.raises(ValueError):
        law.first(2)


@given(st.integers(1, 24).flatmap(lambda bits: st.tuples(st.just(bits), st.lists(distributions(bits), max_size=4))))
def test_packed_laws_come_back(given_: tuple[int, list[Sparse]]) -> None:
    id_bits, laws = given_
    data = pack(laws, id_bits)
    assert unpack(data, len(laws), id_bits) == (tuple(laws), len(data))
    assert unpack(data + b"rest", len(laws), id_bits) == (tuple(laws), len(data))
    assert len(data) == sum(1 + (len(law.ids) * (id_bits + 16) + 7) // 8 for law in laws)
    for length in range(len(data)):
        with pytest.raises(MessageError):
            unpack(data[:length], len(laws), id_bits)


def packed(pairs: list[tuple[int, int]], id_bits: int = 5) -> bytes:
    number = sum((token | count << id_bits) << i * (id_bits + 16) for i, (token, count) in enumerate(pairs))
    return bytes([len(pairs)]) + number.to_bytes((len(pairs) * (id_bits + 16) + 7) // 8, "little")


@pytest.mark.parametrize(
    "data",
    [
        packed([(3, STEPS - 1)]),  # shares below 1
        packed([(3, STEPS), (4, 1)]),  # above
        packed([(3, STEPS - 1), (3, 1)]),  # the same id twice
        packed([(3, STEPS), (4, 0)]),  # an id without a share
        b"\0",  # nothing
        b"",
        packed([(3, STEPS)])[:-1] + bytes([packed([(3, STEPS)])[-1] | 0x80]),  # bits beyond the last
    ],
)
def test_what_is_no_law_is_refused(data: bytes) -> None:
    assert unpack(packed([(3, STEPS - 1), (4, 1)]), 1, 5)[0] == (Sparse((3, 4), (STEPS - 1, 1)),)
    with pytest.raises(MessageError):
        unpack(data, 1, 5)
    with pytest.raises(MessageError):
        decode(sealed(head(3, 1) + b"\5" + data))


def head(tag: int, count: int) -> bytes:
    return struct.pack("<BBIHHIBI", 1, tag, 7, 0, 0, 3, count, 0)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: head(3, 1) + b"\5" + packed([(3, STEPS)]) + b"\0", "too many"),
        (lambda: head(3, 0) + b"\5", "has none"),
        (lambda: head(3, 1), "has none"),
        (lambda: head(3, 1) + b"\0" + packed([(0, STEPS)], 0), "has none"),
        (lambda: head(3, 1) + bytes([25]) + packed([(3, STEPS)], 25), "has none"),
        (lambda: head(2, 0) + bytes(9), "without its counts"),
        (lambda: head(1, 2) + bytes(5), "5 bytes are not 2"),
    ],
)
def test_payloads_that_nobody_writes_are_refused(make: Callable[[], bytes], why: str) -> None:
    with pytest.raises(MessageError, match=why):
        decode(sealed(make()))
