"""The server's party of split inference: goes on from what a device has computed, and judges what it has said.

Hidden states after any exit, embeddings and ids may alternate: what the blocks below have not seen is computed from
ids when it is needed. Messages may be lost, doubled or late. Takes bytes and returns bytes; knows no clock, link or
device. Source: AI Flow, section III-C. Legend: N tokens of a message, V vocabulary.
"""

import secrets
from collections.abc import Callable, Sequence

import torch

from aiflow import codec
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.front import greedy
from aiflow.collaboration.familial.session import Session
from aiflow.collaboration.familial.split import Activations, Inbox
from aiflow.collaboration.familial.verdict import POLL, Poll, Verdict
from aiflow.errors import InputError, MessageError

LEASE = 600.0
"""Seconds that a server keeps a session of which nothing is heard."""
MOST = 64
"""Sessions that a server keeps."""
_ENDED = 1000  # names of sessions that are over, whose late messages open nothing


class Back:
    """One session at the server. `receive` messages, `work`, and send the `answer`."""

    def __init__(
        self,
        family: Family,
        session: str,
        *,
        banned: Sequence[int] = (),
        vocabulary: int | None = None,
        context: int | None = None,
        life: int | None = None,
    ) -> None:
        """``banned``, ``vocabulary``: ids that are not said; ``context``: tokens at most; ``life``: see `Verdict`.

        Raises:
            InputError: if only a part of the family is here.
        """
        if not family.whole:
            raise InputError("only a part of this family was loaded; a server needs the full model.")
        own, first = family.parts.config, next(family.backbone.parameters())
        self._device, self._dtype = first.device, first.dtype
        self._family, self._full = family, Member(exit=family.depth)
        self._mark = getattr(family.backbone.config, "image_token_id", None)
        self._banned, self._vocabulary = tuple(banned), vocabulary
        self._context = context or own.max_position_embeddings
        self.life = secrets.randbits(31) if life is None else life
        self.inbox = Inbox(session, width=own.hidden_size, depth=family.depth, vocabulary=own.vocab_size)
        self.session = Session(family, [self._full])
        self.ids: list[int] = []
        self.agreed = 0
        self.token: int | None = None
        self._decided = self._read = self._poll = 0
        self._refused = False  # the device's tokens from ``agreed`` on, until it has begun a new epoch

    def receive(self, data: bytes) -> None:
        """Reads a message and computes next to nothing. Raises ProtocolError (a subclass); nothing changes then."""
        packet = codec.decode(data)
        if packet.kind == POLL:
            poll = Poll.of(packet)
            if poll.session != self.inbox.session:
                raise MessageError(f"a poll of session {poll.session!r} reached {self.inbox.session!r}.")
            self._poll = max(self._poll, poll.number)
            return
        message, before = Activations.of(packet), self.inbox.epoch
        self._check(message)
        if (self._refused and message.epoch == before) or not self._usable(message):
            return
        new = self.inbox.receive(message)
        if self.inbox.epoch > before:
            self._refused = False
            self._crop(self.inbox.next_position)
        if new is not None:
            self._append(new)

    def work(self) -> None:
        """Reads all that has come with the full model, and judges it."""
        length = self.session.length
        if length == self._read:
            return
        with torch.inference_mode():
            if length < self._decided:
                self.session.reach(self._full.exit)
                return
            first = min(max(self._read, self._decided - 1), length - 1)
            logits_NV = self.session.advance(self._full, last=length - first)[0]
        said = greedy(logits_NV, self._banned, self._vocabulary)
        self._read = length
        for place, token in enumerate(said[:-1], first + 1):
            if place >= self._decided and self.ids[place] != token:
                self._refuse(place, token)
                return
        self.agreed, self.token = length, said[-1]

    def waiting(self, exit_: int) -> tuple[int, int]:
        """Tokens that `work` would read above an exit, and those of them that it would read below it as well."""
        length, read = self.session.length, self.session.computed(self._full.exit)
        # What came above the exit never reached the first block, and is not read there unless ids follow.
        below = self.session.reached(0) - self.session.computed(1) if exit_ else 0
        return length - read, below

    def answer(self, took: float = 0.0) -> bytes:
        """What is known now; ``took``: seconds that it took."""
        return Verdict(
            session=self.inbox.session,
            epoch=self.inbox.epoch,
            next_position=self.inbox.next_position,
            life=self.life,
            agreed=self.agreed,
            token=self.token,
            poll=self._poll,
            took=round(took * 1e6),
        ).encode()

    def _check(self, message: Activations) -> None:
        """Raises MessageError for a message that nobody may send."""
        self.inbox.check(message)
        fresh = message.epoch > self.inbox.epoch
        if message.end > self._context:
            raise MessageError(f"a message up to place {message.end} reached a model of {self._context} tokens.")
        if message.decided < 1 or (fresh and message.kept and message.decided <= message.kept):
            raise MessageError(f"a message with {message.decided} decided tokens, {message.kept} of them kept.")
        if message.h_ND is None and self._mark in message.ids_N.tolist():
            raise MessageError("an image came as ids; send its embeddings.")

    def _usable(self, message: Activations) -> bool:
        """False for ids after an image that came as hidden states; the sender begins anew, so this one was late."""
        kept = len(self.ids)
        if message.epoch > self.inbox.epoch:
            kept = min(kept, message.kept) if self.inbox.epoch >= message.since else 0
        exit_ = message.exit if message.h_ND is not None else 0
        start = self.session.reached(0)
        return max(start, self.session.reached(exit_)) >= kept or self._mark not in self.ids[start:kept]

    def _append(self, new: Activations) -> None:
        self._crop(new.base)
        self._decided = new.decided
        first = int(new.ids_N[0])
        if self.token is not None and self.agreed == new.base >= self._decided and first != self.token:
            self._refuse(new.base, self.token)
            return
        exit_ = new.exit if new.h_ND is not None else 0
        with torch.inference_mode():
            self._catch_up(exit_)
            if new.h_ND is None:
                self.session.push(new.ids_N[None].to(self._device))
            else:
                self.session.resume(new.h_ND[None].to(self._device, self._dtype), exit_)
        self.ids += new.ids_N.tolist()
        self.token = None

    def _catch_up(self, exit_: int) -> None:
        """Brings all earlier tokens to an exit: by what waits here, and where they came above it, from their ids."""
        if self.session.reached(exit_) < self.session.length:
            self.session.reach(exit_)
        if self.session.reached(exit_) < self.session.length:
            missing = self.ids[self.session.reached(0) :]
            self.session.fill(self._family.embed(torch.tensor([missing], device=self._device)))
            self.session.reach(exit_)

    def _refuse(self, place: int, token: int) -> None:
        self._crop(place)
        self.inbox.next_position = place
        self.agreed, self.token, self._refused = place, token, True

    def _crop(self, length: int) -> None:
        if length < self.session.length:
            self.session.crop(length)
            del self.ids[length:]
        self._read = min(self._read, length)
        if self.agreed > length:
            self.agreed, self.token = length, None


class Backs:
    """All sessions of a server, opened by their first message; one that was forgotten begins anew."""

    def __init__(self, make: Callable[[str], Back], *, lease: float = LEASE, most: int = MOST) -> None:
        """``make``: a session by its name; ``lease``: seconds; ``most``: sessions."""
        self._make, self._lease, self._most = make, lease, most
        self._heard: dict[str, tuple[Back, float]] = {}
        self._over: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._heard)

    def get(self, name: str) -> Back | None:
        """A session by its name, if it is here."""
        return self._heard[name][0] if name in self._heard else None

    def receive(self, data: bytes, now: float) -> Back | None:
        """Reads a message at time ``now``; its session, to be worked on, or None if that is over.

        Raises ProtocolError (a subclass).
        """
        self.expire(now)
        packet = codec.decode(data)
        name = packet.fields.get("s")
        if not isinstance(name, str) or not 0 < len(name) <= 64:
            raise MessageError(f"a message of the session {str(name)[:80]!r}; give a name of 1 to 64 letters.")
        if packet.kind == POLL and Poll.of(packet).end:
            self._heard.pop(name, None)
            self._over[name] = None
            while len(self._over) > _ENDED:
                del self._over[next(iter(self._over))]
        if name in self._over:
            return None
        back = self._heard[name][0] if name in self._heard else self._make(name)
        back.receive(data)
        self._heard.pop(name, None)
        self._heard[name] = back, now  # last in the order
        while len(self._heard) > self._most:
            del self._heard[next(iter(self._heard))]
        return back

    def expire(self, now: float) -> None:
        """Forgets the sessions of which nothing was heard for the time of a lease."""
        for name in [name for name, (_, heard) in self._heard.items() if now > heard + self._lease]:
            del self._heard[name]
