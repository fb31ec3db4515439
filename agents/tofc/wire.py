"""Messages of feature compression, on the core codec.

Both agents get ``card`` and send ``about``. The device gets ``see`` and sends ``seen``, in which lies the message for
the server, ``look``; the server answers with the ordinary ``answer`` (`agents.wire`) and may be told to ``leave`` it.
Questions lie in them as the ordinary ``ask``, without the image.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from aiflow import codec
from aiflow.agents import wire as replies
from aiflow.agents.decoding.wire import Count, Key, Number, Strict
from aiflow.agents.wire import Seconds, validated
from aiflow.errors import MessageError

Side = Literal["device", "server"]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Card(Strict):
    """Who are you, as a device or as a server? Makes ready what that side needs."""

    side: Side


class Choice(Strict):
    """A setting of the profile; see `collaboration.tofc.control.Setting`."""

    tokens: Count
    level: Count
    nbytes: Amount
    score: Annotated[float, Field(allow_inf_nan=False)]


class About(Strict):
    """``kind`` of model, ``fingerprint`` of the codec, the ``tokens`` and levels it was trained for, its profile."""

    kind: str
    fingerprint: Number
    tokens: Annotated[list[Count], Field(min_length=1)]
    levels: Count
    profile: list[Choice]


class See(Strict):
    """An image for the device, the setting, and the ``ask`` for the server."""

    ask: bytes
    image: bytes
    tokens: Count
    level: Count


class Seen(Strict):
    """What the device made of it: the ``look`` for the server, in which ``nbytes`` are the image's."""

    look: bytes
    nbytes: Count
    seconds: Seconds


class Look(Strict):
    """A compressed image, and an ``ask`` whose last turn it belongs to."""

    ask: bytes
    image: bytes


class Leave(Strict):
    """Nobody waits for the answer any more."""

    key: Key


M = TypeVar("M", bound=Strict)


def kind(message: type[Strict]) -> str:
    """What a message is called on the wire."""
    return f"tofc-{message.__name__.lower()}"


def encode(message: Strict) -> bytes:
    """Packs a message. Raises MessageTooLargeError."""
    return codec.encode(kind(type(message)), message.model_dump())


def decode(payload: bytes, message: type[M]) -> M:
    """Unpacks one. Raises what an ``error`` message carries, and a ProtocolError for anything else."""
    packet = codec.decode(payload)
    if packet.kind == "error":
        replies.decode_reply(payload, "")  # raises
    if packet.kind != kind(message):
        raise MessageError(f"expected a message of kind {kind(message)!r}, got {packet.kind!r}")
    fields: dict[str, Any] = packet.fields
    return validated(fields, packet.kind, message)
