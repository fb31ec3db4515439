"""The client of a partitioned inference: it holds all tokens, so no stage can take anything with it.

Knows no model: work out, tokens in. `begin` makes the messages that rebuild every cache, in an epoch of their own.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from aiflow.collaboration.partition.wire import Law, Token, Work, check_ids
from aiflow.errors import MessageError

PASS = 16 * 1024 * 1024
"""Bytes of hidden states that one message has at most; a longer history goes in several."""


class Client:
    """One answer. ``tokens`` are the prompt and what was said; ``start`` the place of the first token said."""

    def __init__(self, session: str, prompt: Sequence[int], law: Law | None = None, *, vocabulary: int) -> None:
        """Raises InputError for ids that are not in the vocabulary."""
        self.tokens = list(prompt)
        check_ids(self.tokens, vocabulary)
        self.session, self.start, self.epoch = session, len(self.tokens), -1
        self.micros = 0
        self._law, self._vocabulary = law or Law(), vocabulary
        self._read = 0

    @property
    def said(self) -> list[int]:
        """Tokens of the answer so far."""
        return self.tokens[self.start :]

    def begin(self, activation: int) -> list[bytes]:
        """A new epoch: all tokens, in as few messages as a link takes. ``activation``: bytes of a token's states."""
        self.epoch += 1
        self._read = 0
        each = max(1, PASS // max(1, activation))
        return [self._work(at, min(at + each, len(self.tokens))) for at in range(0, len(self.tokens), each)]

    def next(self) -> bytes:
        """The token that was said last."""
        return self._work(self._read, len(self.tokens))

    def take(self, data: bytes) -> Token | None:
        """Reads what the last stage sent, and keeps its token; None for what is repeated or of an earlier epoch.

        Raises ProtocolError (a subclass) for anything else; nothing has changed then.
        """
        told = Token.decode(data)
        if told.session != self.session or told.epoch > self.epoch:
            raise MessageError(f"a token of session {told.session!r}, epoch {told.epoch} reached {self.session!r}.")
        if told.epoch < self.epoch or told.place <= self._read:
            return None
        wanted = told.place == len(self.tokens)
        if told.place > len(self.tokens) or wanted == (told.token is None):
            raise MessageError(f"a token at place {told.place} came for {len(self.tokens)} tokens.")
        if told.token is not None and told.token >= self._vocabulary:
            raise MessageError(f"token {told.token} came from a vocabulary of {self._vocabulary}.")
        self._read = told.place
        self.micros += told.micros
        if told.token is not None:
            self.tokens.append(told.token)
        return told

    def _work(self, begin: int, end: int) -> bytes:
        law = replace(self._law, said=len(self.tokens) - self.start) if begin == 0 else None
        work = Work(
            session=self.session,
            epoch=self.epoch,
            base=begin,
            block=0,
            ids_N=torch.tensor(self.tokens[begin:end]),
            law=law,
            wanted=end == len(self.tokens),
        )
        return work.encode()
