"""The two messages of a partitioned inference: work for a stage, and the token that the last stage chooses.

Work is token ids for the first stage and hidden states for the others. All of it is checked before anything is done.

Legend: N tokens of a message, D model size.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiflow import codec
from aiflow.collaboration.familial.split import _pack, _unpack, count, text
from aiflow.errors import InputError, MessageError

WORK, TOKEN = "stage-work", "stage-token"
"""Kinds of messages."""
_ID_LIMIT = 2**31
Ranked = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Law:
    """How the last stage chooses: ``temperature`` 0 is greedy, else one random number of ``seed`` per token.

    ``said``: tokens of the answer that were chosen before, so that a stage begun anew draws what the lost one would
    have drawn. ``top``: how many of the likeliest tokens to report.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    said: int = 0
    top: int = 0

    @staticmethod
    def of(value: Any) -> "Law":
        """From the field of a message. Raises MessageError."""
        match value:
            case [float(heat), float(top_p), int(seed), int(said), int(top)]:
                sound = math.isfinite(heat) and 0 <= heat <= 10 and 0 < top_p <= 1 and 0 <= top <= 20
                if sound and 0 <= seed < 2**63 and 0 <= said < _ID_LIMIT:
                    return Law(temperature=heat, top_p=top_p, seed=seed, said=said, top=top)
        raise MessageError(f"the law of a message is unreadable: {str(value)[:80]}")

    def field(self) -> list[Any]:
        """For a message."""
        return [float(self.temperature), float(self.top_p), self.seed, self.said, self.top]


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """Tokens at the places ``base``, ``base`` + 1, ... of a session.

    Attributes:
        session, epoch: which conversation; an epoch begins at place 0 and forgets all earlier ones.
        base: place of the first token.
        block: the block that reads it; 0: ids.
        ids_N: token ids; None above block 0.
        h_ND: hidden states before ``block``; None at block 0.
        law: how to choose, where ``base`` is 0.
        wanted: whether the token after the last one is to be chosen.
        micros: microseconds that the stages before have computed for it.
    """

    session: str
    epoch: int
    base: int
    block: int
    ids_N: Tensor | None = None
    h_ND: Tensor | None = None
    law: Law | None = None
    wanted: bool = True
    micros: int = 0

    @property
    def tokens(self) -> int:
        """N."""
        payload = self.ids_N if self.h_ND is None else self.h_ND
        assert payload is not None
        return len(payload)

    def encode(self) -> bytes:
        """Packs the message. Raises InputError for values that are not finite, MessageTooLargeError."""
        fields: dict[str, Any] = {"s": self.session, "e": self.epoch, "p": self.base, "b": self.block}
        fields |= {"w": self.wanted, "u": self.micros}
        if self.law is not None:
            fields["l"] = self.law.field()
        if self.h_ND is not None:
            fields["d"] = str(self.h_ND.dtype).removeprefix("torch.")
            return codec.encode(WORK, fields, _pack(self.h_ND.detach().cpu(), fields["d"]))
        assert self.ids_N is not None
        return codec.encode(WORK, fields, {"i": self.ids_N.cpu().numpy().astype("<i4")})

    @staticmethod
    def decode(data: bytes) -> "Work":
        """Unpacks a message. Raises ProtocolError (a subclass) for anything that is none."""
        packet = codec.decode(data, WORK)
        fields, ids, h = packet.fields, packet.tensors.get("i"), packet.tensors.get("h")
        if (ids is None) == (h is None) or type(fields.get("w")) is not bool:
            raise MessageError("work for a stage has either token ids or hidden states, and says what is wanted.")
        if ids is not None and (ids.ndim != 1 or ids.dtype != np.dtype("<i4") or not len(ids) or ids.min() < 0):
            raise MessageError("the token ids of a message are no row of ids.")
        if h is not None and (h.ndim != 2 or not len(h)):
            raise MessageError("the hidden states of a message have no tokens.")
        base = count(fields.get("p"), "position")
        if (base == 0) != ("l" in fields):
            raise MessageError("the law stands in the first message of an epoch, and in no other.")
        return Work(
            session=text(fields.get("s")),
            epoch=count(fields.get("e"), "epoch"),
            base=base,
            block=count(fields.get("b"), "block"),
            ids_N=None if ids is None else torch.from_numpy(ids.astype(np.int64)),
            h_ND=None if h is None else _unpack(packet.tensors, fields.get("d"), len(h)),
            law=Law.of(fields["l"]) if base == 0 else None,
            wanted=fields["w"],
            micros=count(fields.get("u"), "time"),
        )


@dataclass(frozen=True, kw_only=True)
class Token:
    """All tokens below ``place`` have been read; the one at ``place`` is ``token`` (None: it was not wanted).

    ``ranked``: the likeliest tokens there as (id, ln p). ``micros``: microseconds that all stages computed.
    """

    session: str
    epoch: int
    place: int
    token: int | None = None
    ranked: Ranked = ()
    micros: int = 0

    def encode(self) -> bytes:
        """Packs the message."""
        fields: dict[str, Any] = {"s": self.session, "e": self.epoch, "p": self.place, "u": self.micros}
        if self.token is not None:
            fields["t"] = self.token
        if self.ranked:
            fields["r"] = [[token, float(p)] for token, p in self.ranked]
        return codec.encode(TOKEN, fields)

    @staticmethod
    def decode(data: bytes) -> "Token":
        """Unpacks a message. Raises ProtocolError (a subclass)."""
        fields = codec.decode(data, TOKEN).fields
        token = fields.get("t")
        return Token(
            session=text(fields.get("s")),
            epoch=count(fields.get("e"), "epoch"),
            place=count(fields.get("p"), "position"),
            token=None if token is None else count(token, "token"),
            ranked=_ranked(fields.get("r", [])),
            micros=count(fields.get("u"), "time"),
        )


def _ranked(value: Any) -> Ranked:
    found = []
    for pair in value if isinstance(value, list) else [None]:
        match pair:
            case [int(token), float(p)] if token >= 0 and math.isfinite(p) and p <= 0:
                found.append((token, p))
            case _:
                raise MessageError("the likeliest tokens of a message are unreadable.")
    return tuple(found)


def check_ids(ids: list[int], vocabulary: int) -> None:
    """Raises InputError for ids that a model of ``vocabulary`` tokens does not have, or none at all."""
    if not ids or not 0 <= min(ids) <= max(ids) < vocabulary:
        raise InputError(f"{len(ids)} token ids: give at least one, each in 0..{vocabulary - 1}.")
