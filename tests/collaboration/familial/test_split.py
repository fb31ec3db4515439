"""Messages of split inference: their bytes, what to send at which rate, and that lost or repeated ones do no harm."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow import codec
from aiflow.collaboration.familial.family import Member
from aiflow.collaboration.familial.session import Session
from aiflow.collaboration.familial.split import Ack, Activations, Inbox, break_even, choose, payload_bytes
from aiflow.errors import InputError, MessageError, ProtocolError

FULL, EARLY = Member(exit=4), Member(exit=2)


def message(base=0, n=3, d=8, epoch=0, dtype=torch.float32, **more):
    h = torch.randn(n, d, generator=torch.Generator().manual_seed(base)).to(dtype)
    ids = torch.arange(base, base + n)
    return Activations(**({"session": "s", "epoch": epoch, "base": base, "exit": 2, "ids_N": ids, "h_ND": h} | more))


def inbox():
    return Inbox("s", width=8, depth=4, vocabulary=50)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_own_dtype_changes_no_bit(dtype):
    sent = message(base=7, epoch=2, dtype=dtype, kept=5)
    got = Activations.decode(sent.encode())
    assert got.h_ND.dtype == dtype
    assert torch.equal(got.h_ND, sent.h_ND)
    assert torch.equal(got.ids_N, sent.ids_N)
    assert (got.session, got.epoch, got.base, got.exit, got.kept, got.end) == ("s", 2, 7, 2, 5, 10)


def test_lossy_dtypes_err_as_much_as_they_may():
    sent = message(n=6)
    sent.h_ND[2] = 0
    half = Activations.decode(sent.encode("bfloat16")).h_ND
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, sent.h_ND.bfloat16())
    quarter = Activations.decode(sent.encode("int8")).h_ND
    steps = sent.h_ND.abs().amax(1, keepdim=True) / 127
    assert ((quarter - sent.h_ND).abs() <= steps * 0.5001).all()
    assert not torch.equal(quarter, sent.h_ND)


@pytest.mark.parametrize("n", [1, 4, 1000])
def test_activations_of_3584_cost_7168_bytes_per_token_and_a_short_header(n):
    sent = message(n=n, d=3584, dtype=torch.bfloat16, session="0" * 16, epoch=70_000, kept=70_000)
    whole, ids = len(sent.encode()), 4 * n
    assert payload_bytes(n, 3584, "bfloat16") == 7168 * n
    assert 0 < whole - 7168 * n - ids <= 160
    only_ids = Activations.decode(message(n=n, h_ND=None).encode())
    assert only_ids.h_ND is None
    assert len(only_ids.encode()) <= ids + 160
    assert payload_bytes(n, 3584, "int8") == 3588 * n


def test_ids_are_sent_exactly_where_activations_take_longer_than_the_server():
    """31 ms of verification, 40 % of the blocks below the exit, 4 tokens: activations pay from 2.3 MB/s on."""
    rate = break_even(4, 3584, "bfloat16", 0.031 * 0.4)
    assert rate == pytest.approx(2.3e6, rel=0.01)
    assert [choose(4, 3584, "bfloat16", r, 0.0124) for r in (0.5e6, 1e6, 2e6)] == ["ids"] * 3
    assert choose(4, 3584, "int8", 2e6, 0.0124) == "activations"
    size = payload_bytes(4, 3584, "bfloat16")
    assert choose(4, 3584, "bfloat16", size / 0.0125, 0.0125) == "activations"  # both take the same time
    assert choose(4, 3584, "bfloat16", size / 0.0126, 0.0125) == "ids"
    assert choose(4, 3584, "bfloat16", 1e12, 0.0) == "ids"
    assert break_even(4, 3584, "bfloat16", 0.0) == float("inf")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused(data):
    good = message(n=2).encode()
    place = data.draw(st.integers(0, len(good) - 1))
    bad = good[:place] + bytes([good[place] ^ data.draw(st.integers(1, 255))]) + good[place + 1 :]
    for broken in (bad, good[:place]):
        with pytest.raises(ProtocolError):
            Activations.decode(broken)


@pytest.mark.parametrize(
    ("change", "tensors"),
    [
        ({"e": -1}, {}),
        ({"p": "0"}, {}),
        ({"x": -1}, {}),
        ({"f": -1}, {}),
        ({"v": None}, {}),
        ({"s": 3}, {}),
        ({"k": None}, {}),
        ({"d": "int4"}, {}),
        ({"d": ["x"]}, {}),
        ({"d": "float64"}, {}),
        ({"d": "int8"}, {}),
        ({}, {"i": torch.zeros(3).numpy()}),
        ({}, {"i": torch.tensor([1, 2], dtype=torch.int32).numpy()}),
        ({}, {"i": torch.tensor([1, 2, -1], dtype=torch.int32).numpy()}),
        ({}, {"h": torch.zeros(3).numpy()}),
        ({}, {"h": torch.full((3, 8), float("nan")).numpy()}),
        ({}, {"c": torch.ones(3).numpy()}),
    ],
)
def test_well_formed_bytes_with_wrong_content_are_refused(change, tensors):
    packet = codec.decode(message().encode())
    with pytest.raises(MessageError):
        Activations.decode(codec.encode("act", packet.fields | change, packet.tensors | tensors))


def test_acknowledgements_are_refused_in_the_place_of_activations():
    ack = Ack(session="s", epoch=1, next_position=9)
    assert Ack.decode(ack.encode()) == ack
    with pytest.raises(MessageError, match="expected a message of kind 'act'"):
        Activations.decode(ack.encode())
    with pytest.raises(MessageError, match="position"):
        Ack.decode(codec.encode("ack", {"s": "s", "e": 0, "p": True}))


def test_each_place_is_taken_once():
    box = inbox()
    assert box.receive(message(0, 3)).base == 0
    assert box.receive(message(0, 3)) is None  # a repetition
    assert box.receive(message(4, 2)) is None  # place 3 is missing
    assert box.ack == Ack(session="s", epoch=0, next_position=3)
    part = box.receive(message(1, 5))
    assert (part.base, part.ids_N.tolist()) == (3, [3, 4, 5])
    assert torch.equal(part.h_ND, message(1, 5).h_ND[2:])
    assert box.ack.next_position == 6


def test_a_new_epoch_takes_back_what_it_does_not_keep():
    box = inbox()
    box.receive(message(0, 6))
    assert box.receive(message(5, 1, epoch=1, kept=4)) is None  # place 4 changed and is not here yet
    assert box.ack == Ack(session="s", epoch=1, next_position=4)
    assert box.receive(message(4, 4)) is None  # late, of the earlier epoch
    assert box.receive(message(4, 2, epoch=1, kept=4)).base == 4
    assert box.ack == Ack(session="s", epoch=1, next_position=6)
    assert inbox().receive(message(5, 1, epoch=2, kept=5, since=1)) is None
    old = inbox()
    old.receive(message(0, 6))  # late, of an epoch before the one that is kept
    assert old.receive(message(5, 1, epoch=2, kept=5, since=1)) is None
    assert old.ack == Ack(session="s", epoch=2, next_position=0)
    assert box.receive(message(6, 1, epoch=2)) is None
    assert box.ack == Ack(session="s", epoch=2, next_position=0)


@pytest.mark.parametrize("change", [{"session": "t"}, {"exit": 5}, {"d": 9}, {"base": 48}])
def test_messages_of_others_change_nothing(change):
    box = inbox()
    box.receive(message(0, 3))
    with pytest.raises(MessageError, match="reached"):
        box.receive(message(**({"base": 3, "epoch": 4} | change)))
    assert box.ack == Ack(session="s", epoch=0, next_position=3)


def keys(session):
    """All keys and values of the blocks above the exit."""
    layers = [layer for stack in session._trunk for layer in stack.cache.layers if layer.is_initialized]
    return [t for layer in layers for t in (layer.keys, layer.values)]


@pytest.mark.parametrize("seed", range(3))
def test_a_server_behind_a_bad_link_ends_with_the_cache_of_an_uninterrupted_run(family, ids, seed):
    """Messages are lost, repeated and delayed, the link dies for five tokens; resending from the Ack mends it all."""
    made, row, rng = family("llama"), ids[0], random.Random(seed)
    box = Inbox("s", width=32, depth=4, vocabulary=50)
    with torch.no_grad():
        h = made.hidden(made.embed(row[None]), [2])[2]
        steady, server, late = Session(made, [FULL]), Session(made, [FULL]), []
        steady.resume(h, 2)
        wanted = steady.advance(FULL)
        heard, lost = 0, 0
        for t in [*range(1, 13), *[12] * 20]:
            part = Activations(session="s", epoch=0, base=heard, exit=2, ids_N=row[heard:t], h_ND=h[0, heard:t])
            data = part.encode() if heard < t else None
            if data is None or 4 <= t < 9 or rng.random() < 0.3:
                lost += data is not None
                continue
            for arrived in [data] * rng.randint(1, 2) + late:
                new = box.receive(Activations.decode(arrived))
                if new is not None:
                    server.crop(new.base)
                    server.resume(new.h_ND[None], new.exit)
                    server.advance(FULL)
            late.append(data)
            if rng.random() < 0.7:  # acknowledgements are lost too
                heard = Ack.decode(box.ack.encode()).next_position
    assert lost >= 5
    assert box.next_position == server.length == 12
    assert len(keys(server)) == len(keys(steady)) == 4
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(keys(server), keys(steady), strict=True))
    assert (wanted - made(row[None], FULL)).abs().max() < 1e-12


def test_tokens_taken_back_leave_no_trace(family, ids):
    made, row = family("llama"), ids[0]
    box, server = Inbox("s", width=32, depth=4, vocabulary=50), Session(made, [FULL])
    wrong = row.clone()
    wrong[5:] = (wrong[5:] + 1) % 48
    with torch.no_grad():
        for epoch, (tokens, base) in enumerate([(wrong, 0), (row, 5)]):
            h = made.hidden(made.embed(tokens[None]), [2])[2][0]
            sent = Activations(
                session="s", epoch=epoch, base=base, exit=2, ids_N=tokens[base:], h_ND=h[base:], kept=base
            )
            new = box.receive(Activations.decode(sent.encode()))
            server.crop(new.base)
            server.resume(new.h_ND[None], new.exit)
            logits = server.advance(FULL)
        assert (logits - made(row[None], FULL)[:, 5:]).abs().max() < 1e-12


def test_misuse_is_refused():
    for change, word in (
        ({"h_ND": torch.zeros(2, 8)}, "do not fit 3 tokens"),
        ({"h_ND": torch.full((3, 8), float("inf"))}, "finite"),
        ({"h_ND": torch.zeros(3, 8, dtype=torch.long)}, "cannot be sent"),
        ({"ids_N": torch.zeros(3)}, "give integers"),
        ({"ids_N": torch.tensor([1, 2, -3])}, "must lie in"),
        ({"ids_N": torch.tensor([], dtype=torch.long), "h_ND": None}, "N >= 1"),
    ):
        with pytest.raises(InputError, match=word):
            message(**change).encode()
    with pytest.raises(InputError, match="cannot be sent"):
        message().encode("int4")
    with pytest.raises(InputError, match="overflow in float16"):
        message(h_ND=torch.full((3, 8), 1e6)).encode("float16")
    with pytest.raises(InputError, match="rate 0"):
        choose(1, 8, "bfloat16", 0, 1.0)
    with pytest.raises(InputError, match="at least 0"):
        break_even(1, 8, "bfloat16", -1.0)
