"""The device's party of split inference: it answers at once from its branch, and sends a server what it has computed.

It says tokens provisionally, sends their hidden states (or their ids), and takes over what the server says: the text
is the full model's. While the server is not heard of it goes on alone and keeps what is missing. Takes bytes and
returns bytes; knows no clock, link or server. Exit 0 (embeddings only) and members without a branch say nothing
themselves and wait for the server's tokens; all else is the same. Source: AI Flow, section III-C.

tokens:  prompt ... | final | provisional      (``start``, ``final``: places, counted from the prompt's first token)
Legend: T tokens, N tokens of a message, D model size, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.ring import Ring
from aiflow.collaboration.familial.session import Session
from aiflow.collaboration.familial.split import BYTES, Activations, Dtype, payload_bytes
from aiflow.collaboration.familial.verdict import Poll, Verdict
from aiflow.errors import InputError, MessageError

Transport = Literal["activations", "ids"]
Policy = Literal["lossless", "best_effort"]
TRANSPORTS: tuple[Transport, ...] = ("activations", "ids")
POLICIES: tuple[Policy, ...] = ("lossless", "best_effort")
CHUNK = 1 << 20
"""Bytes of hidden states in one message, at most (but at least one token)."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be said: the prompt, how many tokens at most, which end it, which and how many ids may be said."""

    session: str
    ids: tuple[int, ...]
    limit: int
    ends: frozenset[int] = frozenset()
    banned: tuple[int, ...] = ()
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        if not self.ids or self.limit < 1:
            raise InputError(f"{len(self.ids)} prompt tokens, limit {self.limit}: give at least one of each.")


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a device works; but for lossy dtypes and "best_effort" it never changes the text.

    Attributes:
        transport: what travels: "activations", or "ids" (and the embeddings of images), from which the server
            computes all.
        dtype: of the hidden states on the link; None: the model's own.
        lossy: allows a dtype that changes them; the text is then the full model's on what arrives.
        policy: what becomes of tokens said while the server is not heard of: "lossless": it judges them later;
            "best_effort": they stand.
        ahead: tokens said that the server has not judged, at most, while it is heard of.
        budget: bytes of hidden states that are kept; of older tokens the ids remain, and the server computes them.
    """

    transport: Transport = "activations"
    dtype: Dtype | None = None
    lossy: bool = False
    policy: Policy = "lossless"
    ahead: int = 16
    budget: int = 64 << 20

    def __post_init__(self) -> None:
        for name, value, known in (("transport", self.transport, TRANSPORTS), ("policy", self.policy, POLICIES)):
            if value not in known:
                raise InputError(f"{name} {value!r} is not known; use one of {', '.join(known)}.")
        if self.ahead < 1 or self.budget < 0:
            raise InputError(f"ahead={self.ahead}, budget={self.budget}: give at least 1 token and 0 bytes.")

    def check(self, native: str) -> None:
        """Raises InputError where hidden states of dtype ``native`` would be changed without leave."""
        sent = self.dtype or native
        if sent not in BYTES:
            raise InputError(f"dtype {sent!r} cannot be sent; use one of {', '.join(BYTES)}.")
        same = sent == native or (sent in ("float32", "float64") and BYTES[sent] > BYTES[native])
        if not same and not self.lossy:
            raise InputError(f"{native} sent as {sent} changes the text; pass lossy=True to allow it, or dtype=None.")


class Front:
    """One session at the device."""

    def __init__(
        self,
        family: Family,
        member: Member,
        task: Task,
        manner: Manner | None = None,
        *,
        pixel_values: Tensor | None = None,
    ) -> None:
        """Nothing is computed yet.

        Args:
            family: has ``member``; of its backbone only the first blocks are used.
            member: exit and branch; with keep 0 it says nothing itself.
            task: what is to be said.
            manner: how.
            pixel_values: images for the image tokens of the prompt.

        Raises:
            InputError: for a member that is not there, or a dtype that would change the text.
        """
        self.task, self.manner, self.exit = task, manner or Manner(), member.exit
        self._family, self._drafts = family.part(member), member.keep != 0
        first = next(family.backbone.parameters())
        self._device = first.device
        self.manner.check(str(first.dtype).removeprefix("torch."))
        self._member = Member(exit=member.exit)
        self._session = Session(self._family, [self._member] if self._drafts else [])
        self._ring = Ring(self.manner.budget)
        self._pixels, self._images = pixel_values, dict[int, Tensor]()  # embeddings of image places
        self.tokens = list(task.ids)
        self.start = self.final = len(task.ids)
        self.epoch = 0
        self.silent = False
        """Whether the server is not heard of."""
        self.taken_back = 0
        """Tokens that were said, and were not the server's."""
        self.accepted = 0
        """Tokens that it said before the server did."""
        self.decided_here = 0
        """Tokens that stand without the server ("best_effort")."""
        self.took = 0
        """Microseconds of the server, summed over the verdicts that came."""
        self._kept = self._since = 0  # places below it are those of that epoch
        self._known = True  # whether the server has heard of this epoch
        self.sent = self._there = 0  # places below it were sent, and have come
        self._alone = 0  # places below it were said while the server was away; they go up as one draft
        self._opaque = False  # an image went as hidden states, from which the server cannot go on by ids
        self._life: int | None = None
        self._past: set[int] = set()
        self._polls = 0

    @property
    def done(self) -> bool:
        """Whether the answer is final."""
        return self._complete(self.final)

    @property
    def settled(self) -> bool:
        """Whether it is, and the server has all of it."""
        return self.done and self._there >= len(self.tokens) - 1

    @property
    def answer(self) -> list[int]:
        """Final tokens of the answer."""
        return self.tokens[self.start : self.final]

    @property
    def above(self) -> int:
        """As `final`: what a reader of a `Tier` asks for."""
        return self.final

    @property
    def own(self) -> int:
        """The place after the last token."""
        return len(self.tokens)

    @property
    def images(self) -> int:
        """Tokens of the prompt that are an image's, once it has been looked at."""
        return len(self._images)

    @property
    def fed(self) -> int:
        """Tokens that its blocks have read."""
        return self._session.length

    @property
    def drafts(self) -> bool:
        """Whether it says tokens itself."""
        return self._drafts

    @property
    def wants(self) -> bool:
        """Whether there is something to compute now."""
        if self._pixels is not None:
            return True
        if self._drafts:
            room = self.silent or len(self.tokens) - self.final < self.manner.ahead
            return room and not self._complete(len(self.tokens))
        return not self.done and self.manner.transport == "activations" and self._session.length < len(self.tokens)

    def step(self) -> None:
        """Computes what is wanted: the prompt, or the last token; and says the next one where there is a branch."""
        with torch.inference_mode():
            self._look()
            if self._drafts or self.manner.transport == "activations":
                self._feed()
            if not self._drafts or self._complete(len(self.tokens)):
                return
            logits_TV = self._session.advance(self._member, last=1)[0]
        self.tokens += greedy(logits_TV, self.task.banned, self.task.vocabulary)
        self._decide()

    def outgoing(self) -> list[bytes]:
        """Messages since the last call; none while the server is not heard of."""
        if self.silent:
            return []
        stop = self._sendable()
        if self._opaque and self.sent < stop and self._form(self.sent) != "h":
            self._renew(0)
            self._opaque = False
        frames = []
        while self.sent < stop:
            form, end = self._run(stop)
            frames.append(self._pack(form, end))
            self._opaque |= form == "h" and self.exit > 0 and any(self.sent <= p < end for p in self._images)
            self.sent = end
        return frames

    def receive(self, data: bytes) -> None:
        """Reads a verdict. Raises ProtocolError (a subclass) for one that cannot be; nothing changes then."""
        verdict = Verdict.decode(data)
        self._check(verdict)
        if verdict.life in self._past:
            return
        there = verdict.next_position
        if verdict.epoch < self.epoch:
            there = min(there, self._kept) if verdict.epoch >= self._since else 0
        self._there = there
        if verdict.life != self._life:
            if self._life is not None:
                self._past.add(self._life)
                self.sent = min(self.sent, there)
            self._life = verdict.life
        if self.silent and verdict.poll == self._polls:
            self.silent = False
            self.sent = min(self.sent, there)
            self._alone = len(self.tokens)
        self.took += verdict.took
        if verdict.epoch == self.epoch:
            self._known = True
            self._take(verdict)

    def lost(self) -> None:
        """The server is not heard of: from now on this side goes on alone."""
        self.silent = True
        self._decide()

    def poll(self, *, end: bool = False) -> bytes:
        """Asks the server where it is; it is heard of again when it has answered. ``end``: says that all is over."""
        self._polls += 1
        return Poll(session=self.task.session, number=self._polls, end=end).encode()

    def switch(self, transport: Transport) -> None:
        """Sends in another form from now on. Raises InputError."""
        self.manner = replace(self.manner, transport=transport)

    def _complete(self, place: int) -> bool:
        said = place - self.start
        return said >= self.task.limit or (said > 0 and self.tokens[place - 1] in self.task.ends)

    def _decide(self) -> None:
        if self.silent and self.manner.policy == "best_effort" and len(self.tokens) > self.final:
            self.decided_here += len(self.tokens) - self.final
            self.final = len(self.tokens)

    def _feed(self) -> None:
        begin, end = self._session.length, len(self.tokens)
        if begin == end:
            return
        embeds_1TD = self._embeds(begin, end)
        self._session.push(embeds=embeds_1TD)
        h_1TD = self._session.reach(self.exit) if self.exit else embeds_1TD
        assert h_1TD is not None
        self._ring.add(h_1TD[0])

    def _look(self) -> None:
        """Runs the vision tower, once."""
        if self._pixels is not None:
            ids_1T = torch.tensor([self.task.ids], device=self._device)
            whole_TD = self._family.embed(ids_1T, self._pixels)[0]
            mark = self._family.backbone.config.image_token_id
            self._images = {p: whole_TD[p].clone() for p, token in enumerate(self.task.ids) if token == mark}
            self._pixels = None

    def _embeds(self, begin: int, end: int) -> Tensor:
        h_1TD = self._family.embed(torch.tensor([self.tokens[begin:end]], device=self._device))
        for place in self._images.keys() & set(range(begin, end)):
            h_1TD[0, place - begin] = self._images[place]
        return h_1TD

    def _sendable(self) -> int:
        if self._pixels is not None:
            return 0
        ids = self.manner.transport == "ids"
        there = len(self.tokens) if ids else self._session.length
        there = min(there, len(self.tokens) - self._complete(len(self.tokens)))  # nobody reads the last token
        return there if self.done else min(there, max(self.start, self._alone, self.final + self.manner.ahead))

    def _form(self, place: int) -> str:
        if self.manner.transport == "activations" and place >= self._ring.start:
            return "h"
        return "e" if place in self._images else "i"

    def _run(self, stop: int) -> tuple[str, int]:
        """The form of the next message, and where it ends."""
        form, end = self._form(self.sent), self.sent + 1
        width = self._family.parts.config.hidden_size
        most = max(1, CHUNK // payload_bytes(1, width, self.manner.dtype or "float32"))
        while end < min(stop, self.sent + most) and self._form(end) == form:
            end += 1
        return form, end

    def _pack(self, form: str, end: int) -> bytes:
        h_ND = None
        if form == "h":
            h_ND = self._ring.get(self.sent, end)
        elif form == "e":
            h_ND = torch.stack([self._images[p] for p in range(self.sent, end)])
        return Activations(
            session=self.task.session,
            epoch=self.epoch,
            base=self.sent,
            exit=self.exit if form == "h" else 0,
            ids_N=torch.tensor(self.tokens[self.sent : end]),
            h_ND=h_ND,
            kept=self._kept,
            since=self._since,
            decided=self.final,
        ).encode(self.manner.dtype if form != "i" else None)

    def _check(self, verdict: Verdict) -> None:
        if verdict.session != self.task.session:
            raise MessageError(f"a verdict of session {verdict.session!r} reached {self.task.session!r}.")
        now = verdict.epoch == self.epoch
        beyond = now and max(verdict.next_position, verdict.agreed) > len(self.tokens)
        if verdict.epoch > self.epoch or beyond or verdict.poll > self._polls:
            raise MessageError(f"a verdict about epoch {verdict.epoch}, place {verdict.agreed}, which were not sent.")
        if verdict.token is not None and verdict.token >= self._family.parts.config.vocab_size:
            raise MessageError(f"a verdict with the token {verdict.token}, which the vocabulary does not have.")

    def _take(self, verdict: Verdict) -> None:
        place, token = verdict.agreed, verdict.token
        if token is None or place < self.start:
            return
        if place < self.final:
            if self.tokens[place] != token:  # decided here meanwhile, but refused there
                self._renew(place)
            return
        self.accepted += place - self.final
        self.final = place
        if self._complete(place):
            return
        if place < len(self.tokens) and self.tokens[place] != token:
            self.taken_back += len(self.tokens) - place
            self._session.crop(min(place, self._session.length))
            self._ring.crop(place)
            del self.tokens[place:]
            self._renew(place)
        if place < len(self.tokens):
            self.accepted += 1
        else:
            self.tokens.append(token)
        self.final += 1

    def _renew(self, place: int) -> None:
        """Takes back what was sent from ``place`` on."""
        if self._known:
            self._kept, self._since = place, self.epoch
        self._kept, self._known = min(self._kept, place), False
        self._alone = min(self._alone, place)
        self.epoch += 1
        self.sent, self._there = min(self.sent, place), min(self._there, place)


def greedy(logits_TV: Tensor, banned: Sequence[int] = (), vocabulary: int | None = None) -> list[int]:
    """The most probable tokens of ``logits_TV`` among the ids that may be said."""
    logits_TV = logits_TV[:, :vocabulary]
    if banned:
        logits_TV = logits_TV.clone()
        logits_TV[:, list(banned)] = -torch.inf
    found: list[int] = logits_TV.argmax(-1).tolist()
    return found
