"""Stages in a row: exact for every cut, each with its own weights only, and unmoved by messages that cannot be."""

from itertools import combinations
from pathlib import Path

import pytest
import torch

from aiflow import codec
from aiflow.collaboration.partition.client import Client
from aiflow.collaboration.partition.piece import held
from aiflow.collaboration.partition.weights import Checkpoint
from aiflow.collaboration.partition.wire import TOKEN, Law, Token, Work
from aiflow.errors import BudgetError, InputError, MessageError, ProtocolError

from .rows import CONTEXT, DEPTH, KINDS, V, alone, row, say, through

PROMPT = [5, 17, 40, 8, 77, 31, 9]


def client(session: str = "s", prompt: list[int] = PROMPT, law: Law | None = None) -> Client:
    return Client(session, prompt, law, vocabulary=V)


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_says_what_the_whole_model_says(folders: dict[str, Path], kind: str) -> None:
    wanted = alone(folders[kind], PROMPT, 12)
    for count in range(DEPTH):
        for cuts in combinations(range(1, DEPTH), count):
            assert say(row(Checkpoint(folders[kind]), cuts), client(), 12) == wanted, cuts


def test_a_stage_reads_and_holds_its_own_blocks_only(folders: dict[str, Path]) -> None:
    for kind in ("llama", "qwen2"):
        whole = Checkpoint(folders[kind])
        total = held([*(p := whole.piece(0, DEPTH)).blocks.values(), p.embed, p.norm, p.head])
        assert total == whole.sizes.whole == p.nbytes
        header = Checkpoint(folders[kind]).bytes_read
        middle = Checkpoint(folders[kind])
        piece = middle.piece(1, 3)
        assert piece.nbytes == sum(whole.sizes.blocks[1:3])
        assert middle.bytes_read - header == piece.nbytes
        assert piece.embed is piece.head is piece.norm is None
        last = Checkpoint(folders[kind]).piece(3, 4)
        assert last.nbytes == whole.sizes.blocks[3] + whole.sizes.norm + whole.sizes.head


def test_what_is_there_is_not_read_again(folders: dict[str, Path]) -> None:
    checkpoint = Checkpoint(folders["llama"])
    first = checkpoint.piece(1, 3)
    before = checkpoint.bytes_read
    second = checkpoint.piece(2, 4, first)
    assert second.blocks[2] is first.blocks[2]
    assert checkpoint.bytes_read - before == checkpoint.sizes.blocks[3] + checkpoint.sizes.norm + checkpoint.sizes.head


def test_sessions_do_not_meet(folders: dict[str, Path]) -> None:
    prompts = {"a": PROMPT, "b": [3, 3, 60], "c": [90]}
    wanted = {name: alone(folders["llama"], prompt, 8) for name, prompt in prompts.items()}
    stages = row(Checkpoint(folders["llama"]), [1, 3])
    clients = {name: client(name, prompt) for name, prompt in prompts.items()}
    work = {name: one.begin(192)[0] for name, one in clients.items()}
    for _ in range(8):
        for name, one in clients.items():
            reply = through(stages, work[name])
            assert reply is not None
            one.take(reply)
            work[name] = one.next()
    assert {name: one.said for name, one in clients.items()} == wanted
    for stage in stages:
        stage.close("a")
        assert stage.length("a") == 0
        assert stage.cached == 3 + 1 + 2 * 7


def test_a_long_history_goes_in_several_messages(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = alone(folders["llama"], PROMPT, 6)
    monkeypatch.setattr("aiflow.collaboration.partition.client.PASS", 192 * 2)
    one = client()
    assert len(one.begin(192)) == 4
    assert say(row(Checkpoint(folders["llama"]), [2]), one, 6) == wanted


@pytest.mark.parametrize("at", range(7))
def test_a_lost_stage_is_built_anew_from_the_history(folders: dict[str, Path], at: int) -> None:
    wanted, checkpoint, one = alone(folders["llama"], PROMPT, 10), Checkpoint(folders["llama"]), client()
    if at:
        say(row(checkpoint, [1, 2]), one, at)
    assert say(row(checkpoint, [3]), one, 10) == wanted
    assert one.epoch == bool(at)


def test_repeated_and_late_messages_do_nothing(folders: dict[str, Path]) -> None:
    stages, one = row(Checkpoint(folders["llama"]), [2]), client()
    first = one.begin(192)[0]
    told = through(stages, first)
    assert told is not None
    one.take(told)
    assert one.take(told) is None
    assert stages[0].receive(first) is None
    say(stages, one, 5)  # a new epoch
    assert through(stages, first) is None
    assert [stage.length("s") for stage in stages] == [len(PROMPT) + 4] * 2
    assert one.take(told) is None
    wanted = alone(folders["llama"], PROMPT, 5)
    assert one.said == wanted


def test_garbage_is_refused_and_changes_nothing(folders: dict[str, Path]) -> None:
    wanted, stages, one = alone(folders["llama"], PROMPT, 6), row(Checkpoint(folders["llama"]), [2]), client()
    work = one.begin(192)[0]
    bad_law = codec.decode(work)
    ids, h = torch.tensor([4]), torch.zeros(1, 48)
    law = Law()
    foreign = [
        b"",
        b"garbage",
        work[:-3],
        work[:40] + bytes([work[40] ^ 1]) + work[41:],
        codec.encode("stage-work", {**bad_law.fields, "l": [0.0, 2.0, 0, 0, 0]}, bad_law.tensors),
        codec.encode("stage-work", {**bad_law.fields, "p": -1}, bad_law.tensors),
        codec.encode("stage-work", {**bad_law.fields, "e": "0"}, bad_law.tensors),
        codec.encode("stage-work", bad_law.fields),
        codec.encode(TOKEN, {"s": "s"}),
        Work(session="s", epoch=0, base=3, block=0, ids_N=ids).encode(),  # too early
        Work(session="s", epoch=5, base=9, block=0, ids_N=ids).encode(),  # an epoch that was never begun
        Work(session="s", epoch=9, base=0, block=0, ids_N=torch.tensor([V]), law=law).encode(),
        Work(session="s", epoch=9, base=0, block=2, h_ND=h, law=law).encode(),  # another stage's
        Work(session="s", epoch=9, base=0, block=0, h_ND=h, law=law).encode(),
        Work(session="s", epoch=9, base=0, block=0, ids_N=torch.zeros(CONTEXT + 1, dtype=torch.long), law=law).encode(),
    ]
    for data in foreign:
        with pytest.raises(ProtocolError):
            stages[0].receive(data)
    states = [
        Work(session="s", epoch=9, base=0, block=2, h_ND=torch.zeros(1, 47), law=law).encode(),
        Work(session="s", epoch=9, base=0, block=2, h_ND=torch.zeros(1, 48, dtype=torch.bfloat16), law=law).encode(),
        Work(session="s", epoch=9, base=0, block=2, h_ND=h, law=Law(said=CONTEXT + 1)).encode(),
    ]
    for data in states:
        with pytest.raises(MessageError):
            stages[1].receive(data)
    assert [stage.cached for stage in stages] == [0, 0]
    told = through(stages, work)
    assert told is not None
    one.take(told)
    for data in foreign[:9] + foreign[10:]:  # the tenth would now be a repetition
        with pytest.raises(ProtocolError):
            stages[0].receive(data)
    for strange in (
        Token(session="t", epoch=0, place=8, token=1),
        Token(session="s", epoch=3, place=8, token=1),
        Token(session="s", epoch=0, place=8, token=V),
        Token(session="s", epoch=0, place=8),
        Token(session="s", epoch=0, place=9, token=1),
    ):
        with pytest.raises(MessageError):
            one.take(strange.encode())
    while len(one.said) < 6:
        told = through(stages, one.next())
        assert told is not None
        one.take(told)
    assert one.said == wanted


def test_caches_have_a_limit_and_old_sessions_give_way(folders: dict[str, Path]) -> None:
    (stage,) = row(Checkpoint(folders["llama"]), [], tokens=10, lease=60.0)
    stage.receive(client("a").begin(192)[0], now=0.0)
    with pytest.raises(BudgetError, match="room for 10 tokens and 4 too many"):
        stage.receive(client("b").begin(192)[0], now=59.0)
    assert (stage.length("a"), stage.length("b")) == (7, 0)
    assert stage.receive(client("b").begin(192)[0], now=61.0) is not None
    assert (stage.length("a"), stage.length("b")) == (0, 7)


def test_a_plain_stage_does_not_draw(folders: dict[str, Path]) -> None:
    (stage,) = row(Checkpoint(folders["llama"]), [])
    with pytest.raises(InputError, match="greedily"):
        stage.receive(client(law=Law(temperature=1.0)).begin(192)[0])
    assert stage.cached == 0
    with pytest.raises(InputError, match=r"0\.\.96"):
        client(prompt=[V])


def test_the_embedded_models_are_read_as_they_are() -> None:
    """A LoRA member, merged block by block, and the language half of a vision family."""
    from aiflow import nano
    from aiflow.agents.backends.transformers.loading import load

    for name in ("nano/math", "nano/family", "nano/base"):
        base, adapter = nano.resolve(name)
        checkpoint = Checkpoint(base, adapter=adapter)
        loaded = load(f"aiflow:{name}", device="cpu", dtype="float32", max_context=None)
        own = loaded.model.model.language_model if name == "nano/family" else loaded.model.model
        piece = checkpoint.piece(0, checkpoint.depth)
        for index, block in piece.blocks.items():
            theirs = own.layers[index].state_dict()
            for key, value in block.state_dict().items():
                assert torch.equal(value, theirs[key]), (name, index, key)
        assert torch.equal(piece.head.weight, loaded.model.lm_head.weight)
        assert torch.equal(piece.embed.weight, own.embed_tokens.weight)
        assert torch.equal(piece.norm.weight, own.norm.weight)
