"""An agent's side of collaborative decoding: what it refuses, sessions whose asker is gone, messages and bundles."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any

import pytest
import speakers
from hypothesis import given
from hypothesis import strategies as st

from aiflow import codec
from aiflow.agents import wire as replies
from aiflow.agents.backends import create
from aiflow.agents.decoding import sitting, wire
from aiflow.agents.decoding.party import Party
from aiflow.agents.worker import Worker
from aiflow.errors import AiflowError, InputError, MessageError, ProtocolError

OPENING: dict[str, Any] = {
    "key": "k", "session": 1, "above": 1, "tier": 0, "top": False, "mode": "greedy", "temperature": 0.0, "top_p": 1.0,
    "seed": 0, "ends": [1], "limit": 8, "turns": [wire.Turn(role="user", text="one", images=[])], "stop": [],
    "context": 512, "names": ["small", "big"], "provisional": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return speakers.save(tmp_path_factory.mktemp("party") / "model", speakers.llama())


@pytest.fixture
async def party(folder: str) -> Any:
    worker = Worker(create(folder))
    yield worker.party
    await worker.close()


async def first(party: Party, payload: bytes) -> list[tuple[int, bytes]]:
    async with aclosing(party.session(payload)) as bundles:
        return list(wire.unbundle(await anext(bundles)))


async def refused(party: Party, payload: bytes) -> AiflowError:
    ((tag, body),) = await first(party, payload)
    assert tag == wire.NEWS
    with pytest.raises(AiflowError) as caught:
        replies.decode_reply(body, "")
    return caught.value


async def test_openings_that_are_wrong_are_refused_and_change_nothing(party: Party) -> None:
    good = wire.encode(wire.Draft(**OPENING))
    card = wire.decode(await party.card(), wire.Card)
    judge = {k: v for k, v in OPENING.items() if k not in ("turns", "stop", "context", "names", "provisional")}
    judge |= {"ids": [5], "said": [], "images": [], "parts": card.parts, "top": True}
    wrong: list[tuple[bytes, type[AiflowError], str]] = [
        (good[:-1], ProtocolError, ""),
        (codec.encode("draft", {**codec.decode(good).fields, "more": 1}), MessageError, "more"),
        (wire.encode(wire.Judge(**{**judge, "parts": {**card.parts, "size": "7"}})), InputError, r"differ \(size\)"),
        (wire.encode(wire.Judge(**{**judge, "limit": 600})), InputError, "601 tokens are too many"),
        (wire.encode(wire.Judge(**{**judge, "images": [b"no"]})), InputError, "not an image"),
        (wire.encode(wire.Draft(**{**OPENING, "context": 4})), InputError, "shorten the conversation"),
        (wire.encode(wire.Card(context=1, ends=[], vocabulary=1, parts={})), MessageError, "kind"),
    ]
    for payload, kind, message in wrong:
        error = await refused(party, payload)
        assert isinstance(error, kind)
        assert message.replace("\\", "") in str(error)
    assert (party.sittings, party.nodes) == ({}, {})


async def test_keys_are_used_once(party: Party) -> None:
    payload = wire.encode(wire.Draft(**OPENING))
    async with aclosing(party.session(payload)) as bundles:
        ((_, body), *_) = wire.unbundle(await anext(bundles))
        assert wire.decode(body, wire.Opened).limit == 8
        assert "already open" in str(await refused(party, payload))
        assert "no session 'other'" in _error(
            await party.tell(wire.encode(wire.Tell(key="other", verb="lead", above=0)))
        )
        party.push("other", 0, b"?", True)
        party.push("k", 0, b"?", True)  # a damaged frame changes nothing
    party.drop("late")  # before its opening has come
    assert "or closed" in str(await refused(party, wire.encode(wire.Draft(**{**OPENING, "key": "late"}))))
    assert (party.sittings, party.nodes) == ({}, {})


async def test_a_session_whose_asker_is_gone_is_closed(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "ABANDONED", 0.2)
    monkeypatch.setattr(sitting, "PAUSE", 0.05)
    async with asyncio.timeout(10):
        bundles = [bundle async for bundle in party.session(wire.encode(wire.Draft(**OPENING)))]
    assert bundles
    assert party.sittings == {}


async def test_frames_reach_the_seat_in_order() -> None:
    class Seat:
        got: list[bytes] = []  # noqa: RUF012

        def deliver(self, frame: bytes, *, above: bool) -> None:
            self.got.append(frame if above else frame.upper())

    from aiflow.clock import RealClock

    there: Any = sitting.Sitting("k", RealClock())
    there.seat = Seat()
    for index, frame in ((1, b"b"), (0, b"a"), (3, b"d"), (2, b"c")):
        there.deliver(index, frame, above=True)
    there.deliver(0, b"x", above=False)
    assert Seat.got == [b"a", b"b", b"c", b"d", b"X"]


def _error(payload: bytes) -> str:
    with pytest.raises(AiflowError) as caught:
        replies.decode_reply(payload, "")
    return str(caught.value)


PARTS = st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=40)), max_size=6)


@given(PARTS)
def test_bundles(parts: list[tuple[int, bytes]]) -> None:
    assert list(wire.unbundle(wire.bundle(parts))) == parts


@given(st.binary(max_size=60))
def test_bundles_that_are_none(data: bytes) -> None:
    with suppress(MessageError):
        assert wire.bundle(wire.unbundle(data)) == data


def test_messages_survive_the_way() -> None:
    news = wire.News(final="a", provisional=[("b", 3, "small")], finish=None, tokens=1)
    assert wire.decode(wire.encode(news), wire.News) == news
    draft = wire.Draft(**OPENING)
    assert wire.decode(wire.encode(draft), wire.Draft) == draft
