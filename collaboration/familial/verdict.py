"""What the server of a split inference says, and what the device asks it. Packs and unpacks; knows no model.

A verdict is complete in itself: whatever was lost before it, the last one says where both sides are.
"""

from dataclasses import dataclass

from aiflow import codec
from aiflow.collaboration.familial.split import count, text

POLL, VERDICT = "poll", "verdict"
"""Kinds of messages."""


@dataclass(frozen=True, kw_only=True)
class Poll:
    """The device asks where the server is, after a silence; ``number`` counts its polls from 1 on.

    ``end``: the session is over and nothing is asked.
    """

    session: str
    number: int
    end: bool = False

    def encode(self) -> bytes:
        """Packs the message."""
        return codec.encode(POLL, {"s": self.session, "q": self.number, "z": int(self.end)})

    @staticmethod
    def of(packet: codec.Packet) -> "Poll":
        """Reads a decoded message of the kind POLL. Raises MessageError."""
        fields = packet.fields
        return Poll(
            session=text(fields.get("s")),
            number=count(fields.get("q"), "number", least=1),
            end=bool(count(fields.get("z"), "end")),
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Every place below ``next_position`` is here, in this epoch, and the tokens below ``agreed`` are the full model's.

    Attributes:
        session: which one.
        epoch: that this is about.
        next_position: send from there on (as in `split.Ack`).
        life: a number of the server's state; another one: it was lost, and the server begins anew.
        agreed: tokens at places below it stand.
        token: the full model's at the place ``agreed``; None: not known yet.
        poll: number of the last poll that came; 0: none.
        took: microseconds that the server computed for this verdict.
    """

    session: str
    epoch: int
    next_position: int
    life: int
    agreed: int
    token: int | None = None
    poll: int = 0
    took: int = 0

    def encode(self) -> bytes:
        """Packs the message."""
        fields = {"s": self.session, "e": self.epoch, "p": self.next_position, "l": self.life, "a": self.agreed}
        fields["t"] = 0 if self.token is None else self.token + 1
        return codec.encode(VERDICT, fields | {"q": self.poll, "u": self.took})

    @staticmethod
    def decode(data: bytes) -> "Verdict":
        """Unpacks a message. Raises ProtocolError (a subclass)."""
        fields = codec.decode(data, VERDICT).fields
        token = count(fields.get("t"), "token")
        return Verdict(
            session=text(fields.get("s")),
            epoch=count(fields.get("e"), "epoch"),
            next_position=count(fields.get("p"), "position"),
            life=count(fields.get("l"), "life"),
            agreed=count(fields.get("a"), "agreed part"),
            token=token - 1 if token else None,
            poll=count(fields.get("q"), "poll"),
            took=count(fields.get("u"), "time"),
        )
