"""Messages of split inference beside those of its parties, on the core codec.

An agent gets ``ask`` and sends ``about``. A device gets ``open``, ``step`` and ``leave`` and sends ``state``; a server
gets ``frames`` and sends ``frames``, which are the parties' own messages and stay as they are.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import Field

from aiflow import codec
from aiflow.agents import wire as replies
from aiflow.agents.decoding.wire import Count, Key, Strict, Turn
from aiflow.agents.wire import Seconds, validated
from aiflow.errors import MessageError
from aiflow.types import Finish

Way = Literal["activations", "ids"]


WIDE = 64
"""Tokens of the longer of the two passes that are timed."""


class Ask(Strict):
    """Who are you? ``padding``: bytes that only measure the link."""

    padding: bytes


class About(Strict):
    """What others must know to split an inference with an agent.

    ``parts`` is the fingerprint of its tokenizer, ``weights`` one of its first weights; ``seconds`` are those that one
    block takes for one token and for ``WIDE`` tokens, of a server.
    """

    width: Count
    depth: Count
    dtype: str
    context: Count
    parts: dict[str, str]
    weights: str
    seconds: list[Seconds]


class Open(Strict):
    """Begins an answer at the device; it says its first token at once, and sends nothing yet."""

    key: Key
    turns: Annotated[list[Turn], Field(min_length=1)]
    stop: list[str]
    limit: Annotated[int, Field(ge=1)]
    names: list[str]
    provisional: bool
    exit: int | None
    dtype: str | None
    lossy: bool
    policy: str
    ahead: int
    budget: int


class Step(Strict):
    """Verdicts that came; whether the server is ``lost``; ``hold``: send nothing yet; what travels from now on."""

    key: Key
    verdicts: list[bytes]
    lost: bool
    hold: bool
    transport: Way | None


class Leave(Strict):
    """Ends a session at the device; its farewell to the server comes back."""

    key: Key


class Shown(Strict):
    """Provisional text of an agent from a place on."""

    text: str
    place: Count
    tier: str


class State(Strict):
    """A device after a step: as in `familial.drive.Turn`, and what is new to say as in `decoding.wire.News`.

    ``own``: tokens of the answer that it said first; ``alone``: those that stand without the server; ``place``: of the
    first token that is not final, counted from the answer's start; ``server_us``: microseconds of the server so far.
    """

    frames: list[bytes]
    wants: bool
    silent: bool
    done: bool
    settled: bool
    final: str
    provisional: list[Shown]
    finish: Finish | None
    tokens: Count
    own: Count
    alone: Count
    taken_back: Count
    place: Count
    seconds: Seconds
    server_us: Count
    transport: Way


class Opened(Strict):
    """The answer has begun: tokens of the prompt, those of them that are an image's, and the first state."""

    prompt: Count
    images: Count
    limit: Count
    exit: Count
    about: About
    state: State


class Frames(Strict):
    """What the parties of some sessions send."""

    frames: list[bytes]


M = TypeVar("M", bound=Strict)


def encode(message: Strict) -> bytes:
    """Packs a message; its kind is its class. Raises MessageTooLargeError."""
    return codec.encode(f"split-{type(message).__name__.lower()}", message.model_dump())


def decode(payload: bytes, kind: type[M]) -> M:
    """Unpacks one. Raises what an ``error`` message carries, and a ProtocolError for anything else."""
    packet = codec.decode(payload)
    if packet.kind == "error":
        replies.decode_reply(payload, str(packet.fields.get("id", "")))  # raises
    name = f"split-{kind.__name__.lower()}"
    if packet.kind != name:
        raise MessageError(f"expected a message of kind {name!r}, got {packet.kind!r}")
    return validated(packet.fields, name, kind)
