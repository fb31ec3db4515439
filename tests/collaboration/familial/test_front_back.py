"""Split inference: the text is the full model's, whatever exit, link, server and form."""

import functools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aiflow.collaboration.familial.back import Back, Backs
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.front import Front, Manner, Task, greedy
from aiflow.collaboration.familial.ring import Ring
from aiflow.collaboration.familial.split import Activations
from aiflow.collaboration.familial.verdict import Poll, Verdict
from aiflow.errors import InputError, MessageError, ProtocolError

IMAGE, LIMIT = 49, 14
BANNED = (IMAGE,)
PROMPT = (3, 1, 4, 1, 5, 9, 2, 6)
PICTURE = (7, IMAGE, IMAGE, IMAGE, IMAGE, 8, 30)
TWO = (7, IMAGE, IMAGE, IMAGE, IMAGE, 8, IMAGE, IMAGE, IMAGE, IMAGE, 30)
KINDS = ("llama", "qwen2", "qwen3", "mistral", "llava")
MEMBERS = [Member(exit=0, keep=0), Member(exit=2, keep=0), Member(exit=1), Member(exit=3, keep=0.3), Member(exit=4)]


@pytest.fixture(scope="module")
def family(family):
    """Each kind once."""
    return functools.cache(family)


def pixels(ids):
    count = ids.count(IMAGE) // 4
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(3)).double() if count else None


@functools.cache
def reference(made, ids, limit=LIMIT):
    """The full model's own greedy answer, without any cache."""
    tokens = list(ids)
    with torch.no_grad():
        for _ in range(limit):
            row = torch.tensor([tokens])
            tokens += greedy(made(row, Member(exit=made.depth), pixels(ids))[0, -1:], BANNED)
    return tokens[len(ids) :]


def task(ids, **more):
    return Task(**({"session": "s", "ids": tuple(ids), "limit": LIMIT, "banned": BANNED} | more))


def front(made, member, ids=PROMPT, ends=(), **manner):
    return Front(made, member, task(ids, ends=frozenset(ends)), Manner(**manner), pixel_values=pixels(tuple(ids)))


def server(made, **more):
    return Backs(lambda name: Back(made, name, banned=BANNED), **more)


def asked(backs, frames, now=0.0):
    """What the server answers to messages that came together."""
    found = []
    for back in {id(b): b for b in [backs.receive(f, now) for f in frames] if b is not None}.values():
        back.work()
        found.append(back.answer())
    return found


def finish(one, backs):
    """A link that loses nothing."""
    for _ in range(300):
        if one.settled:
            return one.answer
        if one.wants:
            one.step()
        for frame in one.outgoing():
            for verdict in asked(backs, [frame]):
                one.receive(verdict)
        if one.silent:
            for verdict in asked(backs, [one.poll()]):
                one.receive(verdict)
    raise AssertionError("no end")


def keys(backs, exit_):
    """Keys and values of the blocks above the exit in the only session."""
    return backs.get("s").session.caches(exit_)


@functools.cache
def steady(made, member, ids):
    """The server's keys and values after an undisturbed run."""
    one, backs = front(made, member, ids), server(made)
    assert finish(one, backs) == reference(made, ids)
    return keys(backs, member.exit)


def close(a, b):
    return len(a) == len(b) > 0 and all(
        x.shape == y.shape and (x - y).abs().max() < 1e-12 for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("member", MEMBERS, ids=str)
@pytest.mark.parametrize("transport", ["activations", "ids"])
def test_the_text_is_the_full_models(family, kind, member, transport):
    made = family(kind)
    ids = TWO if kind == "llava" else PROMPT
    one = front(made, member, ids, transport=transport)
    assert finish(one, server(made)) == reference(made, ids)


def test_a_device_needs_only_its_part_of_the_file(family, tmp_path):
    made = family("llava")
    made.save_pretrained(tmp_path, storage="float32")
    whole = Family.from_pretrained(tmp_path, dtype="float64")
    for member in (Member(exit=0, keep=0), Member(exit=2)):
        part = Family.from_pretrained(tmp_path, member=member, dtype="float64")
        assert part.depth == member.exit
        assert finish(front(part, member, PICTURE), server(whole)) == reference(whole, PICTURE)


def test_the_first_token_is_there_before_anything_is_sent(family):
    made = family("llava")
    one = front(made, Member(exit=2), PICTURE)
    one.step()
    with torch.no_grad():
        alone = made(torch.tensor([PICTURE]), Member(exit=2), pixels(PICTURE))[0, -1:]
    assert one.tokens[one.start :] == greedy(alone, BANNED)
    assert (one.final, one.done) == (one.start, False)
    assert len(one.outgoing()) == 1


def test_the_answer_ends_at_an_end(family):
    made = family("llama")
    said = reference(made, PROMPT)
    end = next(t for i, t in enumerate(said) if i > 3 and t not in said[:i])
    for member in MEMBERS:
        one, backs = front(made, member, ends=[end]), server(made)
        assert finish(one, backs) == said[: said.index(end) + 1]
        back = backs.get("s")
        assert back.session.length == len(one.tokens) - 1  # nobody reads the last token


class Storm:
    """A link that loses, doubles, delays and cuts, and a server that is started anew."""

    def __init__(self, one, made, seed, *, restarts=True, switches=True):
        self.one, self.made, self.rng = one, made, random.Random(seed)
        self.backs, self.up, self.down = server(made), [], []
        self.restarts, self.switches = restarts, switches
        self.cut = self.shown = 0

    def carry(self, frames, take):
        """Hands over some of the frames, in some order; some stay on the way, some are lost or doubled."""
        rng = self.rng
        if self.cut or rng.random() < 0.2:
            frames[:] = [f for f in frames if rng.random() < (0.1 if self.cut else 0.7)]
            return
        if rng.random() < 0.2:
            rng.shuffle(frames)
        now, frames[:] = frames[: rng.randint(0, 4)], frames[rng.randint(0, 4) :]
        for frame in now:
            take(frame)

    def serve(self, frame):
        self.down += asked(self.backs, [frame])

    def tick(self):
        rng, one = self.rng, self.one
        self.cut = max(0, self.cut - 1) if self.cut else (rng.random() < 0.06) * rng.randint(1, 12)
        if self.restarts and rng.random() < 0.03:
            self.backs = server(self.made)
        if self.switches and rng.random() < 0.05:
            one.switch(rng.choice(["ids", "activations"]))
        if one.wants and rng.random() < 0.7:
            one.step()
        self.up += one.outgoing()
        if rng.random() < 0.15:
            one.lost()
        if one.silent and rng.random() < 0.5:
            self.up.append(one.poll())
        self.carry(self.up, self.serve)
        self.carry(self.down, one.receive)

    def run(self):
        for _ in range(4000):
            if self.one.settled:
                return
            final = self.one.answer
            self.tick()
            assert self.one.answer[: len(final)] == final  # what is final never changes
        raise AssertionError("no end")


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["llama", "llava"]),
    member=st.sampled_from(MEMBERS),
    budget=st.sampled_from([1 << 20, 12 * 256, 3 * 256, 0]),
    ahead=st.sampled_from([1, 4, 16]),
)
def test_a_storm_changes_neither_the_text_nor_the_servers_state(family, seed, kind, member, budget, ahead):
    made = family(kind)
    ids = TWO if kind == "llava" else PROMPT
    storm = Storm(front(made, member, ids, budget=budget, ahead=ahead), made, seed)
    storm.run()
    assert storm.one.answer == reference(made, ids)
    # A server that was started anew since the end has nothing: the device tells it all again when it asks.
    storm.one.lost()
    storm.one.receive(asked(storm.backs, [storm.one.poll()])[0])
    finish(storm.one, storm.backs)
    if member.exit < made.depth:  # else there are no blocks above the exit
        assert close(keys(storm.backs, member.exit), steady(made, member, ids))


@pytest.mark.parametrize("forget", ["_refuse", "_crop"])
def test_a_server_that_does_not_take_back_is_found_out(family, forget, monkeypatch):
    """The negative control: without one of the rules the same storms give other texts, or no end."""
    made = family("llama")
    monkeypatch.setattr(Back, forget, lambda *_: None)
    wanted, wrong = reference(made, PROMPT), 0
    for seed in range(4):
        storm = Storm(front(made, Member(exit=1)), made, seed)
        try:
            storm.run()
            wrong += storm.one.answer != wanted
        except (AssertionError, InputError, ProtocolError, RuntimeError, IndexError):
            wrong += 1
    assert wrong


def test_the_device_goes_on_alone_and_its_run_is_judged_as_one_draft(family):
    made = family("llama")
    one, backs = front(made, Member(exit=1), ahead=2), server(made)
    one.step()
    for frame in one.outgoing():
        one.receive(asked(backs, [frame])[0])
    one.lost()
    while one.wants:
        one.step()
    assert len(one.tokens) - one.start == LIMIT  # beyond what it may be ahead while the server is there
    assert one.outgoing() == []
    one.receive(asked(backs, [one.poll()])[0])
    frames = one.outgoing()
    assert [(m.base, m.end) for m in map(Activations.decode, frames)] == [(8, 8 + LIMIT - 1)]
    one.receive(asked(backs, frames)[0])
    assert finish(one, backs) == reference(made, PROMPT)
    assert one.taken_back > 0


def test_best_effort_keeps_what_was_said_alone_and_the_server_catches_up(family):
    made = family("llama")
    member = Member(exit=1)
    one, backs = front(made, member, policy="best_effort"), server(made)
    one.step()
    one.receive(asked(backs, one.outgoing())[0])
    one.lost()
    said = one.answer
    while len(one.tokens) - one.start < 9:
        one.step()
    kept = one.answer
    assert len(kept) == 9
    assert kept[: len(said)] == said
    assert kept != reference(made, PROMPT)[:9]
    one.receive(asked(backs, [one.poll()])[0])
    answer = finish(one, backs)
    assert answer[:9] == kept
    # From there on the text is the full model's again.
    assert answer[9:] == reference(made, (*PROMPT, *kept), LIMIT - 9)
    assert (one.decided_here, one.taken_back >= 0) == (9 - len(said), True)
    whole = server(made)
    again = front(made, member, (*PROMPT, *kept))
    again.task = task((*PROMPT, *kept), limit=LIMIT - 9)
    assert finish(again, whole) == answer[9:]
    assert close(keys(backs, 1), keys(whole, 1))


def test_best_effort_without_a_server_is_the_device_alone(family):
    made = family("llama")
    one = front(made, Member(exit=2), policy="best_effort")
    one.lost()
    while one.wants:
        one.step()
    assert one.done
    assert not one.settled
    tokens = list(PROMPT)
    with torch.no_grad():
        for _ in range(LIMIT):
            tokens += greedy(made(torch.tensor([tokens]), Member(exit=2))[0, -1:], BANNED)
    assert one.answer == tokens[len(PROMPT) :]


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_lossy_activations_are_allowed_by_name_and_give_the_model_on_what_arrives(family, dtype):
    made, member = family("llama"), Member(exit=2)
    with pytest.raises(InputError, match="changes the text; pass lossy=True"):
        front(made, member, dtype=dtype)
    one = front(made, member, dtype=dtype, lossy=True)
    answer = finish(one, server(made))
    with torch.no_grad():
        tokens = list(PROMPT)
        for _ in range(LIMIT):
            h = made.hidden(made.embed(torch.tensor([tokens])), [2])[2][0]
            sent = Activations(session="s", epoch=0, base=0, exit=2, ids_N=torch.tensor(tokens), h_ND=h)
            h = Activations.decode(sent.encode(dtype)).h_ND[None].double()
            for block in (2, 3):
                from aiflow.collaboration.familial.running import run

                h = run(made.parts, made.parts.text.layers[block : block + 1], h)
            tokens += greedy(made.parts.head(made.parts.text.norm(h))[0, -1:], BANNED)
    assert answer == tokens[len(PROMPT) :]


def test_older_tokens_beyond_the_budget_travel_as_ids(family):
    made = family("llava")
    one, backs = front(made, Member(exit=2, keep=0), PICTURE, budget=5 * 256), server(made)
    one.step()
    messages = [Activations.decode(f) for f in one.outgoing()]
    assert [(m.base, m.end, m.exit, m.h_ND is None) for m in messages] == [
        (0, 1, 0, True),
        (1, 2, 0, False),
        (2, 7, 2, False),
    ]
    for message in messages:
        for verdict in asked(backs, [message.encode()]):
            one.receive(verdict)
    assert finish(one, backs) == reference(made, PICTURE)


def test_ids_after_an_images_hidden_states_make_the_device_begin_anew(family):
    made = family("llava")
    one, backs = front(made, Member(exit=2), PICTURE), server(made)
    one.step()
    one.receive(asked(backs, one.outgoing())[0])
    epoch = one.epoch
    one.switch("ids")
    one.step()
    messages = [Activations.decode(f) for f in one.outgoing()]
    assert (messages[0].base, messages[0].kept, messages[0].epoch) == (0, 0, epoch + 1)
    stubborn = Activations(
        session="s", epoch=epoch, base=one.start, exit=0, ids_N=torch.tensor(one.tokens[one.start : one.start + 1]),
        kept=one.start, decided=one.start + 1,
    )  # fmt: skip
    asked(backs, [stubborn.encode()])
    back = backs.get("s")
    assert (back.session.length, back.inbox.epoch) == (one.start, 0)  # as if it had been lost
    asked(backs, [m.encode() for m in messages])
    one.lost()
    assert finish(one, backs) == reference(made, PICTURE)


def test_a_session_whose_lease_has_expired_is_rebuilt(family):
    made = family("llama")
    for budget in (1 << 20, 4 * 256, 0):
        one, backs = front(made, Member(exit=2), budget=budget), server(made, lease=10)
        one.step()
        one.receive(asked(backs, one.outgoing(), now=0.0)[0])
        one.lost()
        one.step()
        assert len(backs) == 1
        backs.expire(11.0)
        assert len(backs) == 0
        one.receive(asked(backs, [one.poll()], now=11.0)[0])
        assert one.sent == 0
        assert finish(one, backs) == reference(made, PROMPT)
        late = one.poll()
        assert asked(backs, [one.poll(end=True), late]) == []
        assert len(backs) == 0


def test_a_server_keeps_so_many_sessions(family):
    made = family("llama")
    backs = server(made, most=2)
    for name in "abca":
        backs.receive(Poll(session=name, number=1).encode(), 0.0)
    assert sorted(backs._heard) == ["a", "c"]
    for bad in ("", "x" * 65):
        with pytest.raises(MessageError, match="a name of 1 to 64"):
            backs.receive(Poll(session=bad, number=1).encode(), 0.0)


def verdict(**more):
    return Verdict(**({"session": "s", "epoch": 0, "next_position": 0, "life": 1, "agreed": 0} | more))


@pytest.mark.parametrize(
    "change",
    [{"session": "t"}, {"epoch": 1}, {"next_position": 99}, {"agreed": 99}, {"poll": 1}, {"token": 50}],
)
def test_wrong_verdicts_change_nothing(family, change):
    one = front(family("llama"), Member(exit=2))
    one.step()
    one.outgoing()
    before = (list(one.tokens), one.final, one.epoch, one.sent, one._life)
    with pytest.raises(MessageError):
        one.receive(verdict(**change).encode())
    assert before == (one.tokens, one.final, one.epoch, one.sent, one._life)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"session": "t"}, "reached"),
        ({"exit": 5}, "exit 5"),
        ({"decided": 0}, "decided"),
        ({"epoch": 1, "kept": 3, "decided": 3}, "decided"),
        ({"ids_N": torch.tensor([1, 2, 50])}, "vocabulary"),
        ({"base": 126}, "model of 128"),
        ({"h_ND": torch.zeros(3, 31)}, "width"),
    ],
)
def test_wrong_messages_change_nothing(family, change, word):
    back = Back(family("llama"), "s")
    fields = {"session": "s", "epoch": 0, "base": 0, "exit": 2, "ids_N": torch.tensor([1, 2, 3]), "decided": 3}
    fields["h_ND"] = torch.zeros(3, 32)
    with pytest.raises(MessageError, match=word):
        back.receive(Activations(**(fields | change)).encode())
    assert (back.session.length, back.inbox.next_position, back.inbox.epoch) == (0, 0, 0)
    with pytest.raises(MessageError, match="an image came as ids"):
        Back(family("llava"), "s").receive(
            Activations(**(fields | {"ids_N": torch.tensor([1, IMAGE, 3]), "h_ND": None})).encode()
        )


def test_verdicts_survive_the_wire_and_nothing_else_does():
    sent = verdict(epoch=3, next_position=9, agreed=8, token=0, poll=4, took=77)
    assert Verdict.decode(sent.encode()) == sent
    assert Verdict.decode(verdict().encode()).token is None
    with pytest.raises(MessageError, match="expected a message of kind 'verdict'"):
        Verdict.decode(Poll(session="s", number=1).encode())


def test_the_ring_keeps_the_newest():
    ring, rows = Ring(4 * 8), torch.arange(24.0).reshape(6, 4)
    ring.budget = 3 * 16
    ring.add(rows[:2])
    ring.add(rows[2:])
    assert (ring.start, ring.end, ring.nbytes) == (3, 6, 48)
    assert torch.equal(ring.get(4, 6), rows[4:])
    ring.crop(4)
    assert (ring.start, ring.end) == (3, 4)
    ring.crop(1)
    assert (ring.start, ring.end, ring.nbytes) == (1, 1, 0)


def test_misuse_is_refused(family):
    made = family("llama")
    for bad, word in (
        ({"transport": "pigeons"}, "transport 'pigeons' is not known"),
        ({"policy": "x"}, "policy 'x' is not known"),
        ({"ahead": 0}, "at least 1 token"),
    ):
        with pytest.raises(InputError, match=word):
            Manner(**bad)
    with pytest.raises(InputError, match="cannot be sent"):
        front(made, Member(exit=2), dtype="int4")
    with pytest.raises(InputError, match="limit 0"):
        task(PROMPT, limit=0)
    with pytest.raises(InputError, match="needs the full model"):
        Back(made.part(Member(exit=2)), "s")
