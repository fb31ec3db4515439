"""Split inference of a family: the messages between a device and a server, what they cost, and which to send.

The device runs the blocks below an exit and answers from the branch there; the server goes on from the activations, or
computes everything from token ids where that is faster. Plain objects without sockets or clocks: rates and times come
from the caller, and `Inbox` says what of a message is new. Source: AI Flow, section III-C.

Legend: N tokens of a message, D model size.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aiflow import codec
from aiflow.errors import InputError, MessageError

Dtype = Literal["float64", "float32", "bfloat16", "float16", "int8"]
BYTES: dict[str, int] = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
"""Bytes of one value by dtype."""
ACT, ACK = "act", "ack"
"""Kinds of messages."""
_WIRE = {"float64": "<f8", "float32": "<f4", "bfloat16": "<u2", "float16": "<f2", "int8": "<i1"}
_SCALE = 4  # bytes of the one float32 scale that an int8 token has
_ID_LIMIT = 2**31


@dataclass(frozen=True, kw_only=True, eq=False)
class Activations:
    """Tokens at the places ``base``, ``base`` + 1, ..., and their hidden states after ``exit`` blocks.

    Attributes:
        session: which conversation.
        epoch: counts how often the sender took tokens back; within an epoch a place never changes its token.
        base: place of the first token.
        exit: blocks that the sender has run; 0: the hidden states are embeddings.
        ids_N: token ids, for lost state and for text that is shown.
        h_ND: hidden states; None: ids only, the receiver runs all blocks.
        kept: tokens at places below it are those of the epoch that the receiver acknowledged last; it keeps them when
            it sees a new epoch. 0 makes it start anew.
        since: the epoch that ``kept`` is about; a receiver that has only seen earlier ones starts anew.
        decided: tokens at places below it are not to be judged: the prompt, and what the receiver has judged or, by the
            sender's policy, need not judge.
    """

    session: str
    epoch: int
    base: int
    exit: int
    ids_N: Tensor
    h_ND: Tensor | None = None
    kept: int = 0
    since: int = 0
    decided: int = 0

    @property
    def end(self) -> int:
        """The place after the last token."""
        return self.base + len(self.ids_N)

    def after(self, place: int) -> "Activations":
        """The tokens from ``place`` on (base <= place < end); memory is shared."""
        skip = place - self.base
        h_ND = None if self.h_ND is None else self.h_ND[skip:]
        return replace(self, base=place, ids_N=self.ids_N[skip:], h_ND=h_ND)

    def encode(self, dtype: Dtype | None = None) -> bytes:
        """Packs the message.

        Args:
            dtype: of the hidden states on the link; None: their own, which changes no bit. "bfloat16" of a float32
                model and "int8" (a scale per token) are lossy, so the receiver's model then computes something else.

        Raises:
            InputError: for shapes that do not fit, an unknown dtype, values that are not finite or ids out of range.
        """
        fields: dict[str, Any] = {"s": self.session, "e": self.epoch, "p": self.base, "x": self.exit, "k": self.kept}
        fields |= {"v": self.since, "f": self.decided}
        ids_N = self.ids_N.detach().cpu()
        if ids_N.ndim != 1 or ids_N.is_floating_point() or not len(ids_N):
            raise InputError(f"token ids of shape {tuple(ids_N.shape)}, {ids_N.dtype}: give integers (N,), N >= 1.")
        if not 0 <= int(ids_N.min()) <= int(ids_N.max()) < _ID_LIMIT:
            raise InputError(f"token ids must lie in 0..{_ID_LIMIT - 1}; got {int(ids_N.min())}..{int(ids_N.max())}.")
        tensors: dict[str, NDArray[Any]] = {"i": ids_N.numpy().astype("<i4")}
        if self.h_ND is not None:
            if self.h_ND.ndim != 2 or len(self.h_ND) != len(ids_N):
                raise InputError(f"hidden states {tuple(self.h_ND.shape)} do not fit {len(ids_N)} tokens; give (N, D).")
            fields["d"] = dtype or str(self.h_ND.dtype).removeprefix("torch.")
            tensors |= _pack(self.h_ND.detach().cpu(), fields["d"])
        return codec.encode(ACT, fields, tensors)

    @staticmethod
    def decode(data: bytes) -> "Activations":
        """Unpacks a message; hidden states are in the dtype of the link, float32 for int8.

        Raises:
            ProtocolError: a subclass, for anything that is not such a message.
        """
        return Activations.of(codec.decode(data, ACT))

    @staticmethod
    def of(packet: codec.Packet) -> "Activations":
        """Reads a decoded message of the kind ACT. Raises ProtocolError (a subclass)."""
        fields, tensors = packet.fields, packet.tensors
        ids = tensors.get("i")
        if ids is None or ids.ndim != 1 or ids.dtype != np.dtype("<i4") or not len(ids) or int(ids.min()) < 0:
            raise MessageError("the token ids of a message are missing or are no row of ids.")
        return Activations(
            session=text(fields.get("s")),
            epoch=count(fields.get("e"), "epoch"),
            base=count(fields.get("p"), "position"),
            exit=count(fields.get("x"), "exit"),
            ids_N=torch.from_numpy(ids.astype(np.int64)),
            h_ND=None if fields.get("d") is None else _unpack(tensors, fields["d"], len(ids)),
            kept=count(fields.get("k"), "kept part"),
            since=count(fields.get("v"), "epoch"),
            decided=count(fields.get("f"), "decided part"),
        )


@dataclass(frozen=True, kw_only=True)
class Ack:
    """The receiver has every token below ``next_position``, in this epoch; send from there on."""

    session: str
    epoch: int
    next_position: int

    def encode(self) -> bytes:
        """Packs the message."""
        return codec.encode(ACK, {"s": self.session, "e": self.epoch, "p": self.next_position})

    @staticmethod
    def decode(data: bytes) -> "Ack":
        """Unpacks a message. Raises ProtocolError (a subclass)."""
        fields = codec.decode(data, ACK).fields
        return Ack(
            session=text(fields.get("s")),
            epoch=count(fields.get("e"), "epoch"),
            next_position=count(fields.get("p"), "position"),
        )


class Inbox:
    """Puts a sender's messages in order: each place once, whatever is lost, repeated or late."""

    def __init__(self, session: str, *, width: int, depth: int, vocabulary: int) -> None:
        """``width`` D, ``depth`` (blocks) and ``vocabulary`` of the receiver's model: others' messages are refused."""
        self.session, self.width, self.depth, self.vocabulary = session, width, depth, vocabulary
        self.epoch = self.next_position = 0

    @property
    def ack(self) -> Ack:
        """What to answer, to every message."""
        return Ack(session=self.session, epoch=self.epoch, next_position=self.next_position)

    def receive(self, message: Activations) -> Activations | None:
        """The new part of a message; None: it is known, of an earlier epoch, or tokens before it are missing.

        A later epoch takes tokens back: crop the model's state to ``base`` of what is returned before it is fed (within
        an epoch that changes nothing).

        Raises:
            MessageError: of another session, or not of this model; nothing has changed then.
        """
        self.check(message)
        if message.epoch > self.epoch:
            kept = message.kept if self.epoch >= message.since else 0
            self.epoch, self.next_position = message.epoch, min(self.next_position, kept)
        late = message.epoch < self.epoch or message.end <= self.next_position
        if late or message.base > self.next_position:
            return None
        new = message.after(self.next_position)
        self.next_position = message.end
        return new

    def check(self, message: Activations) -> None:
        """Raises MessageError for a message of another session, or one that is not of this model."""
        if message.session != self.session:
            raise MessageError(f"a message of session {message.session!r} reached {self.session!r}.")
        if not 0 <= message.exit <= self.depth:
            raise MessageError(f"a message from exit {message.exit} reached a model of {self.depth} blocks.")
        if message.h_ND is not None and message.h_ND.shape[1] != self.width:
            raise MessageError(f"hidden states of width {message.h_ND.shape[1]} reached a model of {self.width}.")
        if int(message.ids_N.max()) >= self.vocabulary:
            raise MessageError(f"token {int(message.ids_N.max())} reached a vocabulary of {self.vocabulary}.")


def payload_bytes(n: int, d: int, dtype: Dtype) -> int:
    """Bytes of ``n`` tokens' hidden states of width ``d`` on the link, without header and ids; raises InputError."""
    if dtype not in BYTES:
        raise InputError(f"dtype {dtype!r} cannot be sent; use one of {', '.join(BYTES)}.")
    return n * (d * BYTES[dtype] + (_SCALE if dtype == "int8" else 0))


def choose(n: int, d: int, dtype: Dtype, rate_bytes_s: float, server_seconds: float) -> Literal["activations", "ids"]:
    """What reaches the server's answer sooner for ``n`` tokens.

    Args:
        n: tokens.
        d: model size.
        dtype: of the hidden states on the link.
        rate_bytes_s: of the link.
        server_seconds: that the server needs for the blocks below the exit, on these tokens.

    Returns:
        "ids" exactly if sending the hidden states takes longer than computing them again.

    Raises:
        InputError: for a rate that is not above 0, a negative time, or an unknown dtype.
    """
    if not rate_bytes_s > 0 or not server_seconds >= 0:
        raise InputError(f"rate {rate_bytes_s} B/s, {server_seconds} s: give a rate above 0 and a time of at least 0.")
    return "ids" if payload_bytes(n, d, dtype) / rate_bytes_s > server_seconds else "activations"


def break_even(n: int, d: int, dtype: Dtype, server_seconds: float) -> float:
    """The rate in bytes/s from which on activations pay; infinite where the server needs no time. Raises InputError."""
    if not server_seconds >= 0:
        raise InputError(f"server_seconds={server_seconds} is not usable; give a time of at least 0.")
    size = payload_bytes(n, d, dtype)
    return size / server_seconds if server_seconds else math.inf


def _pack(h_ND: Tensor, dtype: str) -> dict[str, NDArray[Any]]:
    if dtype not in BYTES:
        raise InputError(f"dtype {dtype!r} cannot be sent; use one of {', '.join(BYTES)}.")
    if not h_ND.is_floating_point() or not bool(h_ND.isfinite().all()):
        raise InputError("hidden states must be finite floats; look for a layer whose activations explode.")
    if dtype == "int8":
        largest_N = h_ND.float().abs().amax(1)
        scale_N = (largest_N / 127).clamp(min=torch.finfo(torch.float32).tiny)
        rows = (h_ND.float() / scale_N[:, None]).round().clamp(-127, 127).to(torch.int8)
        return {"c": scale_N.numpy(), "h": rows.numpy()}
    sent = h_ND.to(getattr(torch, dtype)).contiguous()
    if not bool(sent.isfinite().all()):
        raise InputError(f"hidden states overflow in {dtype}; send them in their own dtype.")
    return {"h": sent.view(torch.int16).numpy().view(np.uint16) if dtype == "bfloat16" else sent.numpy()}


def _unpack(tensors: dict[str, NDArray[Any]], dtype: Any, count: int) -> Tensor:
    rows, scale = tensors.get("h"), tensors.get("c")
    if not isinstance(dtype, str) or dtype not in _WIRE:
        raise MessageError(f"hidden states of the unknown dtype {dtype!r}.")
    if (
        rows is None
        or rows.ndim != 2
        or len(rows) != count
        or not rows.shape[1]
        or rows.dtype != np.dtype(_WIRE[dtype])
    ):
        raise MessageError(f"the hidden states of {count} tokens are missing or have another shape or dtype.")
    if (dtype == "int8") != (scale is not None):
        raise MessageError("int8 hidden states, and no others, come with scales.")
    h_ND = torch.from_numpy(rows.view(np.int16).copy() if dtype == "bfloat16" else rows.copy())
    if dtype == "bfloat16":
        h_ND = h_ND.view(torch.bfloat16)
    if scale is not None:
        if scale.shape != (count,) or scale.dtype != np.dtype("<f4"):
            raise MessageError(f"the scales of {count} int8 tokens have another shape or dtype.")
        h_ND = h_ND.float() * torch.from_numpy(scale.copy())[:, None]
    if not bool(h_ND.isfinite().all()):
        raise MessageError("hidden states of a message are not finite.")
    return h_ND


def text(value: Any) -> str:
    """The session of a message. Raises MessageError."""
    if not isinstance(value, str):
        raise MessageError(f"the session of a message is {value!r}, no text.")
    return value


def count(value: Any, what: str, least: int = 0) -> int:
    """A whole number of a message. Raises MessageError."""
    if type(value) is not int or value < least:
        raise MessageError(f"the {what} of a message is {value!r}, no whole number from {least} on.")
    return value
