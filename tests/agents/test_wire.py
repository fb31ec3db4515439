"""The messages between askers and agents: round trips, and every way in which they can be wrong."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow import codec, errors
from aiflow.agents import wire
from aiflow.errors import AgentError, AiflowError, BackendError, MessageError, MessageTooLargeError, ProtocolError
from aiflow.types import Answer, Image, Message, Options, Usage

PNG = Image(b"\x89PNG\r\n\x1a\n" + bytes(20))
ASK = wire.encode_ask("r1", [Message("user", "Hi?", (PNG,))], Options(stop=("\n",), seed=7))
FIELDS = codec.decode(ASK).fields


def test_ask_round_trip() -> None:
    ask = wire.decode_ask(ASK)
    assert ask.id == "r1"
    assert ask.messages == (Message("user", "Hi?", (PNG,)),)
    assert ask.options == Options(stop=("\n",), seed=7)


def test_answer_round_trip() -> None:
    usage = Usage(requests=1, prompt_tokens=3, completion_tokens=2, seconds=0.5)
    answer = Answer(text="Hi!", finish="length", usage=usage)
    assert wire.decode_reply(wire.encode_answer("r1", answer), "r1") == answer
    assert wire.decode_reply(wire.encode_answer("r1", answer, with_text=False), "r1", "Hi!") == answer
    likely = replace(answer, logprobs=((("m", -0.1), ("M", -2.5)), (), (("\n", 0.0),)))
    assert wire.decode_reply(wire.encode_answer("r1", likely), "r1") == likely
    assert wire.decode_reply(wire.encode_delta("r1", 4, "Hi"), "r1") == wire.Piece(index=4, text="Hi")


@pytest.mark.parametrize("kind", [kind for kind in wire.ERRORS.values() if kind is not AiflowError])
def test_every_error_of_ours_travels(kind: type[AiflowError]) -> None:
    with pytest.raises(kind, match="why") as caught:
        wire.decode_reply(wire.encode_error("r1", kind("why")), "r1")
    assert type(caught.value) is kind


def test_foreign_errors_become_backend_errors() -> None:
    class Odd(errors.BackendUnavailableError):
        pass

    with pytest.raises(BackendError, match="KeyError: 'a b'"):
        wire.decode_reply(wire.encode_error("r1", KeyError("a b")), "r1")
    with pytest.raises(errors.BackendUnavailableError, match="one two"):
        wire.decode_reply(wire.encode_error("r1", Odd("one\n two")), "r1")
    invented = codec.encode("error", {"id": "r1", "type": "SystemExit", "text": "x"})
    with pytest.raises(BackendError):
        wire.decode_reply(invented, "r1")


def test_asks_for_logprobs_round_trip() -> None:
    options = Options(max_tokens=1, top_logprobs=5)
    assert wire.decode_ask(wire.encode_ask("r1", [Message("user", "Hi?")], options)).options == options
    assert "top_logprobs" not in FIELDS["options"]


@pytest.mark.parametrize(
    "logprobs",
    [
        [[("m", float("nan"))]], [[("m", float("-inf"))]], [[("m", 0.1)]], [[("m", None)]], [[("m", "-1")]],
        [[(b"m", -1.0)]], [[("m",)]], [[("m", -1.0, -2.0)]], [("m", -1.0)], [{"m": -1.0}], "m", None, [None],
    ],
    ids=str,
)  # fmt: skip
def test_wrong_logprobs_are_refused(logprobs: Any) -> None:
    fields = codec.decode(wire.encode_answer("r1", Answer(text=""))).fields
    assert wire.decode_reply(codec.encode("answer", {**fields, "logprobs": [[("m", -1)]]}), "r1")
    with pytest.raises(MessageError, match="logprobs"):
        wire.decode_reply(codec.encode("answer", {**fields, "logprobs": logprobs}), "r1")


WRONG: list[dict[str, Any]] = [
    {"id": ""},
    {"id": 5},
    {"id": "x" * 65},
    {"messages": []},
    {"messages": "Hi"},
    {"messages": [{"role": "user", "text": "Hi"}]},
    {"messages": [{"role": "robot", "text": "Hi", "images": []}]},
    {"messages": [{"role": "user", "text": b"Hi", "images": []}]},
    {"messages": [{"role": "user", "text": "Hi", "images": [b"no image"]}]},
    {"messages": [{"role": "user", "text": "Hi", "images": ["text"]}]},
    {"options": {**FIELDS["options"], "temperature": -1.0}},
    {"options": {**FIELDS["options"], "temperature": float("nan")}},
    {"options": {**FIELDS["options"], "max_tokens": 0}},
    {"options": {**FIELDS["options"], "max_tokens": True}},
    {"options": {**FIELDS["options"], "stop": [""]}},
    {"options": {**FIELDS["options"], "stop": "\n"}},
    {"options": {**FIELDS["options"], "beams": 3}},
    {"options": {**FIELDS["options"], "top_logprobs": 21}},
    {"options": {**FIELDS["options"], "top_logprobs": -1}},
    {"options": {**FIELDS["options"], "top_logprobs": None}},
    {"options": {}},
    {"extra": 1},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_wrong_asks_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MessageError) as caught:
        wire.decode_ask(codec.encode("ask", {**FIELDS, **change}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("delta", {"id": "r2", "index": 0, "text": ""}),
        ("delta", {"id": "r1", "index": -1, "text": ""}),
        ("delta", {"id": "r1", "index": 0, "text": None}),
        ("answer", {"id": "r1", "text": "", "finish": "tired", "usage": {}}),
        ("answer", {"id": "r1", "text": ""}),
        ("error", {"id": "r2", "type": "BackendError", "text": ""}),
        ("error", {"id": "r1", "type": 1, "text": ""}),
        ("ask", FIELDS),
        ("surprise", {}),
    ],
)
def test_wrong_replies_are_refused(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        wire.decode_reply(codec.encode(kind, fields), "r1")


@given(st.binary(max_size=300) | st.builds(lambda cut, bit: _damage(cut, bit), st.integers(0, 200), st.integers(0, 7)))
def test_damaged_bytes_are_refused(data: bytes) -> None:
    for read in (wire.decode_ask, lambda payload: wire.decode_reply(payload, "r1")):
        with pytest.raises(ProtocolError):
            read(data)


def _damage(position: int, bit: int) -> bytes:
    data = bytearray(ASK)
    data[position % len(data)] ^= 1 << bit
    return bytes(data)


def test_too_large_is_an_error_of_the_sender() -> None:
    with pytest.raises(MessageTooLargeError, match="smaller image"):
        wire.encode_ask("r1", [Message("user", "x" * 50_000_000)], Options())


def test_agent_errors_keep_their_name_slot() -> None:
    assert AgentError("x").agent == ""
