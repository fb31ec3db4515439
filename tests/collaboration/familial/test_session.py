"""Deferred deep computation is exact, exits may be switched at any token, and lost links cost nothing but time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.session import Session
from aiflow.errors import InputError

KINDS = ("llama", "qwen2", "qwen3", "mistral", "llava")
FULL, EARLY, PART = Member(exit=4), Member(exit=2), Member(exit=1, keep=0.3)


def keys(session: Session) -> list[torch.Tensor]:
    """All keys and values of the backbone's blocks."""
    layers = [layer for stack in session._trunk for layer in stack.cache.layers if layer.is_initialized]
    return [t for layer in layers for t in (layer.keys, layer.values)]


@pytest.mark.parametrize("kind", KINDS)
def test_deferred_blocks_equal_a_full_pass_for_any_chunks(family, kind, ids):
    made = family(kind)
    with torch.no_grad():
        wanted = made(ids, FULL)
        for chunks in ((7, 1, 4), (1,) * 12, (12,), (3, 3, 3, 3)):
            session, start = Session(made), 0
            for size in chunks:
                session.feed(ids[:, start : start + size], EARLY)
                start += size
            assert (session.advance(FULL) - wanted).abs().max() < 1e-12


def test_copying_the_state_instead_is_not_exact(family, ids):
    """The negative control: deeper blocks that take early tokens' hidden states for their own give other logits."""
    made = family("llama")
    with torch.no_grad():
        wanted = made(ids, FULL)[:, -1]
        session = Session(made)
        session.feed(ids[:, :-1], EARLY)
        for index in (2, 3):  # keys and values of block 3 made from the activations that waited for block 2
            session._trunk[index].waiting = list(session._trunk[2].waiting)
        waiting = session._trunk[2].waiting
        session._trunk[2].waiting = waiting
        session._trunk[3].done = 0
        for top in session._tops.values():
            top.waiting = top.waiting if top is not session._tops[FULL] else []
        session._work_off(session._trunk[3])
        session._work_off(session._trunk[2])
        copied = session.feed(ids[:, -1:], FULL)[:, -1]
    assert (copied - wanted).abs().max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([FULL, EARLY, PART])), min_size=1, max_size=5))
def test_switching_exits_changes_nobodys_logits(family, plan):
    made = family("qwen3")
    ids = torch.randint(0, 48, (2, 20), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        alone = {m: made(ids, m) for m in (FULL, EARLY, PART)}
        session, start = Session(made, [FULL, EARLY, PART]), 0
        for size, member in plan:
            out = session.feed(ids[:, start : start + size], member)
            assert (out - alone[member][:, start : start + size]).abs().max() < 1e-12
            start += size


def test_a_branch_in_the_backbones_place_of_the_cache_is_found_out(family, ids):
    """The negative control: keys of the branch where block 2's belong change the full model's logits."""
    made = family("llama")
    with torch.no_grad():
        session = Session(made, [FULL, EARLY])
        session._tops[EARLY].cache = session._trunk[2].cache
        session.feed(ids[:, :6], EARLY)
        session._trunk[2].done = 6
        session._trunk[2].waiting = []
        session._trunk[3].waiting = [made.hidden(made.embed(ids[:, :6]), [3])[3]]
        mixed = session.feed(ids[:, 6:], FULL)
        assert (mixed - made(ids, FULL)[:, 6:]).abs().max() > 1e-3


def test_tokens_that_never_came_are_found_out(family, ids):
    """The negative control of a lost link: a server that goes on without what was lost has other keys."""
    made = family("llama")
    with torch.no_grad():
        h = made.hidden(made.embed(ids), [2])[2]
        server, steady = Session(made, [FULL]), Session(made, [FULL])
        steady.resume(h, 2)
        server.resume(torch.cat([h[:, :4], h[:, 9:]], 1), 2)
        found, wanted = server.advance(FULL), steady.advance(FULL)
    assert server.caches(2)[0].shape != steady.caches(2)[0].shape
    assert (found[:, -1] - wanted[:, -1]).abs().max() > 1e-3


def test_ids_may_follow_hidden_states_and_embeddings(family, ids):
    """What the lower blocks have not seen is computed when ids come: any mixture of exits gives the same."""
    made = family("llama")
    with torch.no_grad():
        wanted, h = made(ids, FULL), made.hidden(made.embed(ids), [1, 2])
        session = Session(made, [FULL])
        session.resume(h[2][:, :3], 2)
        assert (session.reached(0), session.reached(1), session.reached(2)) == (0, 0, 3)
        with pytest.raises(InputError, match="4 embeddings for 3 tokens"):
            session.fill(made.embed(ids[:, :4]))
        session.fill(made.embed(ids[:, :3]))
        session.push(ids[:, 3:5])
        with pytest.raises(InputError, match="5 earlier tokens have not reached exit 1; advance first"):
            session.resume(h[1][:, 5:8], 1)
        assert torch.allclose(session.reach(1), h[1][:, :5], atol=1e-12)
        session.resume(h[1][:, 5:8], 1)
        assert (session.advance(FULL, last=4) - wanted[:, 4:8]).abs().max() < 1e-12
        session.fill(made.embed(ids[:, 5:8]))
        session.resume(made.embed(ids[:, 8:]), 0)
        assert (session.advance(FULL) - wanted[:, 8:]).abs().max() < 1e-12
        assert session.reach(4) is None


def test_left_padding_does_not_matter(family, ids):
    made = family("llama")
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), ids], 1)
    mask = torch.cat([torch.zeros(2, 3), torch.ones(2, 12)], 1).bool()
    with torch.no_grad():
        session = Session(made)
        session.feed(padded[:, :9], EARLY, mask_BT=mask[:, :9])
        out = session.feed(padded[:, 9:], FULL, mask_BT=mask[:, 9:])
        assert (out - made(ids, FULL)[:, 6:]).abs().max() < 1e-10


def test_rolling_back_equals_a_fresh_start(family, ids):
    made = family("mistral")
    with torch.no_grad():
        session = Session(made)
        session.feed(ids[:, :5], FULL)
        session.feed(ids.flip(1)[:, :4], EARLY)
        session.crop(5)
        assert session.length == 5
        session.feed(ids[:, 5:8], EARLY)
        session.crop(7)
        assert (session.feed(ids[:, 7:], FULL) - made(ids, FULL)[:, 7:]).abs().max() < 1e-12


def test_a_lost_link_leaves_the_servers_state_as_if_nothing_happened(family, ids):
    """A device computes the first blocks and streams activations; the link fails for some tokens and comes back."""
    made = family("llama")
    with torch.no_grad():
        device, server, steady = Session(made, [EARLY]), Session(made, [FULL]), Session(made, [FULL])
        kept, sent = [], 0
        for t in range(12):
            device.feed(ids[:, t : t + 1], EARLY)
            kept.append(made.hidden(made.embed(ids[:, : t + 1]), [2])[2][:, -1:])
            if not 4 <= t < 9:
                server.resume(torch.cat(kept[sent:], 1), 2)
                server.advance(FULL)
                sent = t + 1
        steady.resume(torch.cat(kept, 1), 2)
        last = steady.advance(FULL)
        assert len(keys(server)) == len(keys(steady)) == 4
        assert all((a - b).abs().max() < 1e-12 for a, b in zip(keys(server), keys(steady), strict=True))
        assert (last - made(ids, FULL)).abs().max() < 1e-12


def test_each_block_computes_each_token_once(family, ids):
    made = family("llama")
    counts = [0] * 4

    def counting(index):
        def count(_module, args):
            counts[index] += args[0].shape[1]

        return count

    for index, layer in enumerate(made.parts.text.layers):
        layer.register_forward_pre_hook(counting(index))
    with torch.no_grad():
        session = Session(made)
        for t in range(6):
            session.feed(ids[:, t : t + 1], EARLY)
        assert counts == [6, 6, 0, 0]
        session.feed(ids[:, 6:7], FULL)
        session.feed(ids[:, 7:8], EARLY)
    assert counts == [8, 8, 7, 7]


def test_misuse_is_refused(family, ids):
    made = family("llama", exits=(1, 2))
    session = Session(made, [EARLY])
    with pytest.raises(InputError, match="was not declared; this session has 2"):
        session.feed(ids, FULL)
    session = Session(made)
    session.feed(ids, EARLY)
    with pytest.raises(InputError, match="has read all 12 tokens"):
        session.advance(EARLY)
    with pytest.raises(InputError, match="cannot crop to 13 tokens; the session has 12"):
        session.crop(13)
    with pytest.raises(InputError, match="exit 5 is not usable; the backbone has the exits 0 to 4"):
        session.resume(torch.zeros(2, 1, 32).double(), 5)
    with pytest.raises(InputError, match="12 earlier tokens have not reached exit 3"):
        session.resume(torch.zeros(2, 1, 32).double(), 3)
    with pytest.raises(InputError, match="either token ids or embeddings"):
        session.push()
    with pytest.raises(InputError, match="exit 3 is not in this family"):
        Session(made, [Member(exit=3)])
    assert isinstance(made, Family)
