"""Messages of partitioned inference beside those of its parties (`collaboration.partition.wire`), on the core codec.

An agent gets ``ask`` and sends ``about``; gets ``load`` and sends ``loaded``; gets ``leave`` and sends ``left``. Work
for its stage gets work for the next one, a token, or ``left`` where it was repeated or late.
"""

from typing import Annotated, TypeVar

from pydantic import Field

from aiflow import codec
from aiflow.agents import wire as replies
from aiflow.agents.decoding.wire import Count, Key, Strict
from aiflow.agents.wire import Seconds, validated
from aiflow.errors import MessageError

PART = "partition"
Bytes = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Ask(Strict):
    """Who are you?"""


class About(Strict):
    """An agent and the model of which it can hold blocks.

    ``model`` is the fingerprint of the weights, ``life`` the process's; ``seconds`` are those of one block for one
    token and for each token of a prompt, and of the head; ``memory`` its own limit; ``begin`` .. ``end`` what it holds
    (nothing where they are equal), of ``held`` bytes; ``peak`` the most that it has held.
    """

    model: str
    life: str
    context: Count
    vocabulary: Count
    blocks: Annotated[list[Bytes], Field(min_length=1)]
    embed: Bytes
    norm: Bytes
    head: Bytes
    tied: bool
    cache: Bytes
    activation: Count
    seconds: Annotated[list[Seconds], Field(min_length=3, max_length=3)]
    memory: Bytes | None
    begin: Count
    end: Count
    held: Count
    peak: Count


class Load(Strict):
    """Hold these blocks, and room for ``tokens`` tokens in caches, within ``memory``; none where both are equal."""

    model: str
    begin: Count
    end: Count
    tokens: Count
    memory: Bytes | None


class Loaded(Strict):
    """``fresh``: it did not hold just these before, and has forgotten all sessions. ``read``: bytes from files."""

    fresh: bool
    held: Count
    read: Count
    seconds: Seconds


class Leave(Strict):
    """A session has ended."""

    session: Key


class Left(Strict):
    """Nothing to say."""


M = TypeVar("M", bound=Strict)


def encode(message: Strict) -> bytes:
    """Packs a message; its kind is its class."""
    return codec.encode(f"blocks-{type(message).__name__.lower()}", message.model_dump())


def decode(payload: bytes, kind: type[M]) -> M:
    """Unpacks one. Raises what an ``error`` message carries, and a ProtocolError for anything else."""
    packet = codec.decode(payload)
    if packet.kind == "error":
        replies.decode_reply(payload, str(packet.fields.get("id", "")))  # raises
    name = f"blocks-{kind.__name__.lower()}"
    if packet.kind != name:
        raise MessageError(f"expected a message of kind {name!r}, got {packet.kind!r}")
    return validated(packet.fields, name, kind)


def checked(payload: bytes, kind: str) -> bytes:
    """A party's message of this kind as it is. Raises what an ``error`` message carries, or MessageError."""
    packet = codec.decode(payload)
    if packet.kind == "error":
        replies.decode_reply(payload, str(packet.fields.get("id", "")))  # raises
    if packet.kind != kind:
        raise MessageError(f"expected a message of kind {kind!r}, got {packet.kind!r}")
    return payload
