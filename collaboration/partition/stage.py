"""A stage: some blocks of a model as a party. Work in; work for the next stage, or a token, out.

It keeps the keys and values of its own blocks for every session, and nothing else. Within an epoch places come in
order; what is repeated or of an earlier epoch does nothing, and what cannot be is a MessageError that changes nothing.
An epoch begins at place 0, so a stage that has lost a session, or never had it, needs no help to begin it anew.

Legend: N tokens of a message, D model size, V vocabulary.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from aiflow.collaboration.familial.running import step
from aiflow.collaboration.partition.piece import Piece
from aiflow.collaboration.partition.wire import Law, Ranked, Token, Work
from aiflow.errors import BudgetError, InputError, MessageError

LEASE = 300.0
"""Seconds after which the caches of a session that nobody speaks of may go."""

Chooser = Callable[[Tensor], tuple[int, Ranked]]
"""Logits (1, V) to a token and the likeliest ones."""


def greedy(law: Law) -> Chooser:
    """The likeliest token. Raises InputError for a law that draws."""
    if law.temperature > 0 or law.top:
        raise InputError("this stage chooses greedily and reports no probabilities; give it a way to choose.")
    return lambda logits_1V: (int(logits_1V[0].argmax()), ())


@dataclass(kw_only=True)
class _Session:
    epoch: int
    law: Law
    heard: float
    choose: Chooser | None = None
    length: int = 0
    cache: Any = field(default_factory=lambda: _cache())


class Stage:
    """``tokens``: how many tokens the caches of all sessions may hold; ``choosing``: makes a session's chooser."""

    def __init__(
        self,
        piece: Piece,
        *,
        tokens: int,
        context: int,
        choosing: Callable[[Law], Chooser] = greedy,
        lease: float = LEASE,
    ) -> None:
        self.piece, self.tokens, self.context = piece, tokens, context
        self._choosing, self._lease = choosing, lease
        self._sessions: dict[str, _Session] = {}

    @property
    def cached(self) -> int:
        """Tokens in all caches."""
        return sum(session.length for session in self._sessions.values())

    def length(self, session: str) -> int:
        """Tokens of a session that it has read."""
        found = self._sessions.get(session)
        return 0 if found is None else found.length

    def close(self, session: str) -> None:
        """Forgets a session, if it is there."""
        self._sessions.pop(session, None)

    @torch.inference_mode()
    def receive(self, data: bytes, now: float = 0.0) -> bytes | None:
        """What to send on; None for what is repeated or of an earlier epoch. ``now``: seconds, for the lease.

        Raises:
            ProtocolError: a subclass, for bytes that are no work for this stage; nothing has changed then.
            BudgetError: if the caches are full of other sessions.
        """
        work = Work.decode(data)
        self._check(work)
        session = self._find(work, now)
        if session is None:
            return None
        self._make_room(work, now)
        if work.law is not None and self.piece.last:
            session.choose = self._choosing(work.law)
        self._sessions[work.session] = session
        try:
            began = time.perf_counter()
            h_1ND = self._run(work, session)
            reply = self._tail(work, session, h_1ND, began) if self.piece.last else self._on(work, h_1ND, began)
        except BaseException:
            self.close(work.session)  # its caches may have been changed in part
            raise
        session.heard = now
        return reply

    def _check(self, work: Work) -> None:
        """Raises MessageError for work that is not this stage's."""
        piece = self.piece
        if work.block != piece.begin or (work.block == 0) != (work.ids_N is not None):
            raise MessageError(f"work for block {work.block} reached a stage that begins at {piece.begin}.")
        if work.h_ND is not None and (
            work.h_ND.shape[1] != piece.width or str(work.h_ND.dtype) != f"torch.{piece.dtype}"
        ):
            raise MessageError(
                f"hidden states {work.h_ND.shape[1]} wide in {work.h_ND.dtype} reached a model of {piece.width} "
                f"in {piece.dtype}."
            )
        if work.ids_N is not None and int(work.ids_N.max()) >= piece.vocabulary:
            raise MessageError(f"token {int(work.ids_N.max())} reached a vocabulary of {piece.vocabulary}.")
        if work.base + work.tokens > self.context:
            raise MessageError(f"place {work.base + work.tokens} is beyond the {self.context} that the model reads.")

    def _find(self, work: Work, now: float) -> _Session | None:
        """The session as it must be for this work; None: it is repeated or late. Changes nothing."""
        known = self._sessions.get(work.session)
        if known is not None and (
            work.epoch < known.epoch or (work.epoch == known.epoch and work.base + work.tokens <= known.length)
        ):
            return None
        if known is not None and work.epoch == known.epoch:
            if work.base != known.length:
                raise MessageError(f"place {work.base} of session {work.session!r} came when {known.length} was due.")
            return known
        if work.law is None:
            raise MessageError(f"epoch {work.epoch} of session {work.session!r} is not known; begin it at place 0.")
        if work.law.said > self.context:
            raise MessageError(f"{work.law.said} tokens were said before, more than the model reads.")
        return _Session(epoch=work.epoch, law=work.law, heard=now)

    def _make_room(self, work: Work, now: float) -> None:
        held = {name: s.length for name, s in self._sessions.items() if name != work.session}
        too_many = sum(held.values()) + work.base + work.tokens - self.tokens
        for name in sorted(held, key=lambda n: self._sessions[n].heard):
            if too_many > 0 and self._sessions[name].heard + self._lease < now:
                too_many -= held[name]
                self.close(name)
        if too_many > 0:
            raise BudgetError(
                f"the caches have room for {self.tokens} tokens and {too_many} too many were sent; "
                "end other sessions, or give caches more room."
            )

    def _run(self, work: Work, session: _Session) -> Tensor:
        piece, start = self.piece, session.length
        end = start + work.tokens
        device = next(iter(piece.blocks[piece.begin].parameters())).device
        if work.ids_N is not None:
            h_1ND: Tensor = piece.embed(work.ids_N.to(device)[None])
        else:
            assert work.h_ND is not None
            h_1ND = work.h_ND.to(device)[None]
        positions_1N = torch.arange(start, end, device=device)[None]
        valid_1K = torch.ones(1, end, dtype=torch.bool, device=device)
        for index in range(piece.begin, piece.end):
            h_1ND = step(
                piece.own,
                piece.blocks[index],
                h_1ND,
                start=start,
                positions_BT=positions_1N,
                valid_BK=valid_1K,
                cache=session.cache,
            )
        session.length = end
        return h_1ND

    def _on(self, work: Work, h_1ND: Tensor, began: float) -> bytes:
        """For the next stage."""
        return Work(
            session=work.session,
            epoch=work.epoch,
            base=work.base,
            block=self.piece.end,
            h_ND=h_1ND[0],
            law=work.law,
            wanted=work.wanted,
            micros=work.micros + _micros(began),
        ).encode()

    def _tail(self, work: Work, session: _Session, h_1ND: Tensor, began: float) -> bytes:
        """The token after the last place, for the client."""
        token: int | None = None
        ranked: Ranked = ()
        if work.wanted:
            assert session.choose is not None
            logits_1V = self.piece.head(self.piece.norm(h_1ND[:, -1]))
            token, ranked = session.choose(logits_1V)
        return Token(
            session=work.session,
            epoch=work.epoch,
            place=session.length,
            token=token,
            ranked=ranked,
            micros=work.micros + _micros(began),
        ).encode()


def _micros(began: float) -> int:
    return int((time.perf_counter() - began) * 1e6)


def _cache() -> Any:
    from transformers import DynamicCache

    return DynamicCache()
