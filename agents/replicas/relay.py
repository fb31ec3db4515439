"""One answer in pieces from a role: another replica goes on where one broke off.

The next replica answers from the beginning, and what was said already is passed over, so its text has to be the same.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiflow.agents.deadline import Deadline
from aiflow.agents.replicas.balance import LONGEST, Balance
from aiflow.agents.replicas.race import FAILED, GIVE_UP, GONE, POLL
from aiflow.clock import Clock
from aiflow.errors import AgentDiedError, BackendError
from aiflow.types import Answer, Delta

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent

Pieces = AsyncGenerator[Delta | Answer]


class Relay:
    """Streams from one replica after the other. ``patience``: seconds without a piece that one is waited for."""

    def __init__(self, replicas: "Mapping[str, Agent]", balance: Balance, clock: Clock, patience: float | None) -> None:
        self._replicas, self._balance, self._clock, self._patience = replicas, balance, clock, patience
        self._refused: set[str] = set()  # replicas that had this request and cannot answer it
        self._error: Exception | None = None
        self._said = ""

    async def run(self, stream: "Callable[[Agent], Pieces]", limit: Deadline) -> Pieces:
        """Pieces in order, the Answer last. Raises the last error when every replica has refused, or none is there."""
        alone_since = self._clock.now()
        while True:
            async with limit.limit():
                name = await self._next(alone_since + GIVE_UP)
            began = self._clock.now()
            try:
                async with aclosing(self._from(name, stream(self._replicas[name]), limit)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except FAILED as error:
                if limit.left <= 0 or isinstance(error, _Differs):
                    raise
                self._error = error
                now = self._clock.now()
                self._balance.failed(name, now)
                if now - began > LONGEST:
                    alone_since = now
                if not isinstance(error, GONE):
                    self._refused.add(name)

    async def _from(self, name: str, pieces: Pieces, limit: Deadline) -> Pieces:
        """What is new of one replica's answer."""
        heard, began, answered = "", self._clock.now(), False
        self._balance.began(name)
        try:
            async with aclosing(pieces):
                while True:
                    async with limit.limit(), Deadline(self._patience, self._clock, name, "go on").limit():
                        piece = await anext(pieces, None)
                    if piece is None:
                        raise BackendError("the reply ended without an answer", name)
                    answered = isinstance(piece, Answer)
                    heard = piece.text if answered else heard + piece.text
                    if answered:  # told before the last piece, after which a caller may never come back
                        self._balance.answered(name, self._clock.now() - began)
                        self._balance.ended(name)
                    if more := self._after(heard, whole=answered):
                        self._said = heard
                        yield Delta(text=more)
                    if answered:
                        yield piece
                        return
        finally:
            if not answered:
                self._balance.ended(name)

    def _after(self, heard: str, *, whole: bool) -> str:
        """What is new in ``heard``. Raises if it does not begin as what was said already."""
        if heard.startswith(self._said):
            return heard[len(self._said) :]
        if self._said.startswith(heard) and not whole:
            return ""
        raise _Differs("a replica broke off, and the next writes another text; ask greedily, or with a seed.")

    async def _next(self, until: float) -> str:
        """The replica to ask, as soon as there is one."""
        while (name := self._balance.choose(self._clock.now(), self._refused)) is None:
            if self._refused >= set(self._balance.loads) or self._clock.now() >= until:
                raise self._error or AgentDiedError("no replica is there; add one, or wait for one to return.")
            await self._clock.sleep_until(min(until, self._clock.now() + POLL))
        return name


class _Differs(BackendError):
    """Another replica writes another text, so it cannot go on with what was said."""
