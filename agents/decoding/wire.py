"""Messages of collaborative decoding beside its frames, on the core codec: who can take part, opening, news, steering.

A process sends ``card``; gets ``draft`` (the device) or ``judge`` (the others) and sends ``opened``, then frames and
``news``; gets ``tell`` and sends ``state``. What it sends comes in bundles of tagged parts; frames stay as they are.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from aiflow import codec
from aiflow.agents.wire import validated
from aiflow.errors import InputError, MessageError
from aiflow.types import Finish, Image, Message, Role

MODES = ("greedy", "shared", "soft")
UP, DOWN, NEWS = 0, 1, 2
"""Tags: a frame to the tier above, one to the tier below, a message to the asker."""
_PART = struct.Struct("<BI")

Id = Annotated[int, Field(ge=0, lt=1 << 24)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[int, Field(ge=0, lt=1 << 32)]
Key = Annotated[str, Field(min_length=1, max_length=64)]
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """No field too many, none of another type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Card(Strict):
    """Whether an agent can take part: tokens it reads, ids that end an answer, and the fingerprint of its tokenizer."""

    context: Count
    ends: list[Id]
    vocabulary: Count
    parts: dict[str, str]


class _Open(Strict):
    key: Key
    session: Number
    above: Number
    tier: Annotated[int, Field(ge=0, lt=16)]
    top: bool
    mode: Literal["greedy", "shared", "soft"]
    temperature: Annotated[float, Field(ge=0, le=10)]
    top_p: Share
    seed: Count
    ends: list[Id]
    limit: Annotated[int, Field(ge=1)]


class Turn(Strict):
    """A message."""

    role: Role
    text: str
    images: list[bytes]

    @classmethod
    def of(cls, message: Message) -> "Turn":
        """From a Message."""
        return cls(role=message.role, text=message.text, images=[i.data for i in message.images])

    def message(self) -> Message:
        """Raises InputError for bytes that are no image."""
        return Message(self.role, self.text, tuple(map(Image, self.images)))


class Draft(_Open):
    """Opens a session at the device. ``context``: the least of all agents; ``names``: theirs, the device first."""

    turns: Annotated[list[Turn], Field(min_length=1)]
    stop: list[str]
    context: Count
    names: list[str]
    provisional: bool


class Judge(_Open):
    """Opens a session at a judge. ``ids`` are the prompt, ``said`` final tokens of a session that goes on."""

    ids: Annotated[list[Id], Field(min_length=1)]
    said: list[Id]
    images: list[bytes]
    parts: dict[str, str]


class Opened(Strict):
    """The session is there. A device says the prompt and how many tokens the answer may have."""

    ids: list[Id]
    limit: Count


class News(Strict):
    """``final`` text that is new, (text, place, agent) that may change, and in the end why it ended."""

    final: str
    provisional: list[tuple[str, int, str]]
    finish: Finish | None
    tokens: Count


class Tell(Strict):
    """``reopen``: the tier above begins anew as session ``above``; ``lead``: it is gone, go on alone; ``report``."""

    key: Key
    verb: Literal["reopen", "lead", "report"]
    above: Number


class State(Strict):
    """The final tokens when it was told, and what the session took so far."""

    said: list[Id]
    rounds: Count
    accepted: Count
    judged: Count


M = TypeVar("M", bound=Strict)


def encode(message: Strict) -> bytes:
    """Packs a message; its kind is its class. Raises MessageTooLargeError."""
    return codec.encode(type(message).__name__.lower(), message.model_dump())


def decode(payload: bytes, kind: type[M]) -> M:
    """Unpacks one. Raises a ProtocolError for anything that ``encode`` would not make."""
    name = kind.__name__.lower()
    fields: dict[str, Any] = codec.decode(payload, name).fields
    if "provisional" in fields and isinstance(fields["provisional"], list):
        fields["provisional"] = [tuple(x) if isinstance(x, list) else x for x in fields["provisional"]]
    return validated(fields, name, kind)


def bundle(parts: Iterable[tuple[int, bytes]]) -> bytes:
    """Several tagged parts as one."""
    return b"".join(_PART.pack(tag, len(body)) + body for tag, body in parts)


def unbundle(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The parts. Raises MessageError."""
    at = 0
    while at < len(data):
        if at + _PART.size > len(data):
            raise MessageError("a bundle ends inside a part.")
        tag, size = _PART.unpack_from(data, at)
        at += _PART.size + size
        if tag not in (UP, DOWN, NEWS) or at > len(data):
            raise MessageError(f"a bundle holds a part with the tag {tag} and {size} bytes.")
        yield tag, data[at - size : at]


def check(names: Sequence[str], cards: Sequence[Card]) -> None:
    """Raises InputError unless all agents give the same tokens the same ids."""
    for name, card in zip(names[1:], cards[1:], strict=True):
        differs(names[0], cards[0].parts, name, card.parts)


def differs(name: str, parts: dict[str, str], other: str, theirs: dict[str, str]) -> None:
    """Raises InputError that names what differs between the tokenizers of two agents."""
    wrong = [part for part in {**parts, **theirs} if parts.get(part) != theirs.get(part)]
    if wrong:
        raise InputError(
            f"the tokenizers of {name!r} and {other!r} differ ({', '.join(wrong)}), so their token ids do not mean "
            "the same; use models of one family, or ask the judge alone."
        )
