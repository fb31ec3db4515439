"""Messages between an asker and an agent that holds a diffusion party, on the core codec.

The asker sends ``do`` with a message for the party and gets ``done``: a handle of the result, and the result itself if
it is small or was wanted. What is held is brought by ``take`` -> ``taken`` and let go by ``drop``. ``who`` -> ``card``
says what the agent is, ``watch`` -> ``steps`` how far a call has come. The party's own messages lie in these as bytes.
"""

import hashlib
from typing import Annotated, Any, TypeVar

from pydantic import Field

from aiflow import codec
from aiflow.agents import wire as replies
from aiflow.agents.decoding.wire import Count, Key, Strict
from aiflow.agents.wire import Seconds, validated
from aiflow.errors import ChecksumError, MessageError, ProtocolError

PART = "diffusion"
LIMIT = 320 * 1024 * 1024
"""Bytes of the largest message: the parties' largest and its envelope."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Do(Strict):
    """A message for the party. Results of up to ``inline`` bytes come back at once; larger ones stay.

    ``attached``: results of others, which came from elsewhere, to be put into the message as its fields. ``fresh``:
    work, even if the same message has been answered before.
    """

    request: Key
    payload: bytes
    inline: Count
    attached: dict[str, bytes] = Field(default_factory=dict)
    fresh: bool = False

    def whole(self) -> bytes:
        """The party's message with what is attached. Raises MessageError."""
        if not self.attached:
            return self.payload
        packet = codec.decode(self.payload, limit=LIMIT)
        return codec.encode(packet.kind, packet.fields | self.attached, packet.tensors, limit=LIMIT)


class Done(Strict):
    """A result. ``key``: the digest of what was asked; ``kind``: its name; ``seconds``: how long the node was busy.

    ``shapes``: of the arrays in it, by name.
    """

    key: Digest
    kind: str
    nbytes: Count
    digest: Digest
    seconds: Seconds
    shapes: dict[str, list[Count]]
    payload: bytes | None


class Take(Strict):
    """Wants a result that is held."""

    key: Digest


class Taken(Strict):
    """The result; None: it is not held, or no longer."""

    payload: bytes | None


class Drop(Strict):
    """Results that nobody will ask for again."""

    keys: list[Digest]


class Who(Strict):
    """What are you? ``steps``: of the schedule that is meant; 0: none."""

    steps: Count = 0


class Card(Strict):
    """What an agent is: its part in which system, the weights (``model``), and a name of this life of its process.

    ``schedule``: the hash of its schedule of so many steps, if it has one. ``shape``: of the latents it is made for.
    """

    system: str
    role: str
    model: str
    schedule: str
    shape: list[Count]
    life: str
    held: Count
    held_bytes: Count
    about: dict[str, str]


class Watch(Strict):
    """How far is this request?"""

    request: Key


class Steps(Strict):
    """``step`` of ``steps`` are done; 0 of 0: not known."""

    step: Count
    steps: Count


M = TypeVar("M", bound=Strict)


def kind(message: type[Strict]) -> str:
    """What a message is called on the wire."""
    return f"{PART}-{message.__name__.lower()}"


def encode(message: Strict) -> bytes:
    """Packs a message. Raises MessageTooLargeError."""
    return codec.encode(kind(type(message)), message.model_dump(), limit=LIMIT)


def decode(payload: bytes, message: type[M]) -> M:
    """Unpacks a reply. Raises the error that it carries, and a ProtocolError for anything else."""
    packet = codec.decode(payload, limit=LIMIT)
    if packet.kind == "error":
        replies.decode_reply(payload, "")  # raises
    if packet.kind != kind(message):
        raise MessageError(f"expected a message of kind {kind(message)!r}, got {packet.kind!r}")
    return validated(packet.fields, packet.kind, message)


def received(payload: bytes) -> Strict:
    """Unpacks what an agent was sent. Raises ChecksumError for damaged bytes (send again), else MessageError."""
    try:
        packet = codec.decode(payload, limit=LIMIT)
    except ProtocolError as error:
        raise ChecksumError(f"a message arrived damaged: {error}") from error
    known: dict[str, type[Strict]] = {kind(one): one for one in (Do, Take, Drop, Who, Watch)}
    if packet.kind not in known:
        raise MessageError(f"an agent with a diffusion party reads no {packet.kind!r} message")
    fields: dict[str, Any] = packet.fields
    return validated(fields, packet.kind, known[packet.kind])


def digest(data: bytes) -> str:
    """32 hex digits that say which bytes these are."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def shapes(data: bytes) -> dict[str, list[int]]:
    """The shapes of the arrays in a message of the codec. Raises a ProtocolError."""
    return {name: list(array.shape) for name, array in codec.decode(data, limit=LIMIT).tensors.items()}


def kind_of(data: bytes) -> str:
    """The kind of a message of the codec. Raises a ProtocolError."""
    return codec.decode(data, limit=LIMIT).kind
