"""What parties send each other: typed classes on the core codec. Knows neither models nor what a field means.

A message is a class; its arrays (and dicts of arrays) cross as raw tensors, all else as msgpack fields::

    class Estimate(Message):
        step: Count
        u_hat: Array          # a dict[str, Array] works as well

Use ``list``, not ``tuple``, for sequences: the codec knows no tuples.
"""

from typing import Annotated, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from aiflow import codec
from aiflow.errors import MessageError

Key = Annotated[str, Field(min_length=1, max_length=64)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Count
Number = Annotated[float, Field(allow_inf_nan=False)]
Hash = Annotated[str, Field(max_length=64)]
"""A fingerprint (`diffusion.files.fingerprint`) or the hash of a schedule; empty: not said."""

LIMIT = 256 * 1024 * 1024
"""Bytes of the largest message: latents of real videos are some megabytes."""


def _finite(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("an array holds NaN or infinity")
    return array


Array = Annotated[NDArray[Any], AfterValidator(_finite)]
"""Any shape and dtype of the codec; no NaN, no infinity. The receiver checks the shape."""


class Message(BaseModel):
    """No field too many, none of another type. ``request`` names what it belongs to."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, arbitrary_types_allowed=True)

    request: Key


class Party(Protocol):
    """One side of a shared inference: bytes in, bytes out. Owns its part of the model; knows no clock and no link.

    The same message twice gives the same bytes. What it raises leaves its state as it was.
    """

    def handle(self, payload: bytes) -> bytes:
        """Answers one message. Raises ProtocolError for bytes not to be trusted, UsageError for input it cannot use."""


M = TypeVar("M", bound=Message)


def kind(message: type[Message]) -> str:
    """What a class is called on the wire: its module's last folder and its name, like ``motion.Estimate``."""
    return f"{message.__module__.split('.')[-2]}.{message.__name__}"


def encode(message: Message) -> bytes:
    """Packs a message. Raises MessageError for an array that cannot be sent, MessageTooLargeError."""
    fields: dict[str, Any] = {}
    tensors: dict[str, NDArray[Any]] = {}
    for name in type(message).model_fields:
        value = getattr(message, name)
        if isinstance(value, np.ndarray):
            tensors[name] = value
        elif isinstance(value, dict) and any(isinstance(v, np.ndarray) for v in value.values()):
            tensors |= {f"{name}/{key}": array for key, array in value.items()}
        else:
            fields[name] = _plain(value)
    return codec.encode(kind(type(message)), fields, tensors, limit=LIMIT)


def decode(payload: bytes, *expected: type[M]) -> M:
    """Unpacks a message of one of the ``expected`` classes; arrays are read-only. Raises a ProtocolError."""
    packet = codec.decode(payload, limit=LIMIT)
    found = next((one for one in expected if kind(one) == packet.kind), None)
    if found is None:
        raise MessageError(f"expected {' or '.join(kind(one) for one in expected)}, got {packet.kind!r}")
    values = dict(packet.fields)
    for name, array in packet.tensors.items():
        field, slash, key = name.partition("/")
        if slash:
            values.setdefault(field, {})[key] = array
        else:
            values[field] = array
    try:
        return found.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise MessageError(f"field {where!r} of a {packet.kind!r} message is wrong: {first['msg']}") from None


def same(what: str, mine: str, theirs: str, *, of: str) -> None:
    """Raises MessageError if a hash in a message is not this party's own."""
    if mine != theirs:
        raise MessageError(
            f"{of} has the {what} {theirs or '(none)'}, this party {mine or '(none)'}; load both from one folder."
        )


def shaped(name: str, array: NDArray[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """The array, if it has the shape (None: any size). Raises MessageError."""
    fits = array.ndim == len(shape) and all(w in (None, n) for w, n in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = tuple("any" if n is None else n for n in shape)
        raise MessageError(f"{name} has the shape {array.shape}, expected {wanted}.")
    return array


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value
