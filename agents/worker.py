"""An agent's side of the protocol: bytes of a question in, bytes of an answer out, and exact totals.

A plain object around a backend. It knows nothing of Ray, links or who asks.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING

from aiflow import tracing
from aiflow.agents import spans, wire
from aiflow.agents.call import Call
from aiflow.agents.interface import Backend, Part
from aiflow.clock import Clock, RealClock
from aiflow.errors import AiflowError, InputError, MessageError, ProtocolError
from aiflow.types import Usage

if TYPE_CHECKING:
    from aiflow.agents.decoding.party import Party
    from aiflow.agents.decoding.speaker import Speaker

log = logging.getLogger(__name__)

PARTS = {
    "split": "aiflow.agents.split.part",
    "tofc": "aiflow.agents.tofc.part",
    "diffusion": "aiflow.agents.diffusion.part",
    "partition": "aiflow.agents.partition.part",
}
"""Modules of further abilities, by name; each has a class ``Part``."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What a worker did: ``asked == answered + errors + cancelled + in_flight`` at any moment.

    ``usage`` is the sum of those in the answers that it gave, cancelled ones included. Refused bytes count nowhere.
    """

    asked: int = 0
    answered: int = 0
    errors: int = 0
    cancelled: int = 0
    in_flight: int = 0
    usage: Usage = field(default_factory=Usage)


class Worker:
    """Serves any number of concurrent requests to one backend; ``clock`` times them, ``model`` is what traces say."""

    def __init__(self, backend: Backend, clock: Clock | None = None, model: str = "") -> None:
        self._backend, self._model = backend, model
        self._clock = clock or RealClock()
        self._calls: dict[str, Call] = {}
        self._done = Totals()
        self._party: Party | None = None
        self.parts: dict[str, Part] = {}

    @property
    def party(self) -> "Party":
        """Its side of collaborative decoding."""
        if self._party is None:
            from aiflow.agents.decoding.party import Party

            self._party = Party(self._speaker, self._clock)
        return self._party

    def _speaker(self) -> "Speaker":
        make = getattr(self._backend, "speaker", None)
        if make is None:
            raise InputError(
                f"{type(self._backend).__name__} gives no logits, so it cannot decode with others; "
                "use a model of the transformers back end."
            )
        speaker: Speaker = make()
        return speaker

    def totals(self) -> Totals:
        """The totals up to now."""
        done, running = self._done, len(self._calls)
        asked = done.answered + done.errors + done.cancelled + running
        return replace(done, asked=asked, in_flight=running)

    def cancel(self, request: str) -> bool:
        """Ends a request early; its asker gets what was written so far. False if no such request runs."""
        call = self._calls.get(request)
        if call is not None:
            call.cancel()
        return call is not None

    async def call(self, part: str, payload: bytes) -> bytes:
        """Hands one of ``PARTS`` a message; its reply, or an ``error``. Never raises but for its own cancellation."""
        try:
            if part not in PARTS:
                raise MessageError(f"a worker has no part {part!r}")
            if part not in self.parts:
                self.parts[part] = import_module(PARTS[part]).Part(self._backend, self._clock)
            return await self.parts[part].call(payload)
        except AiflowError as error:
            return wire.encode_error("", error)
        except Exception as error:  # a bug, or a model's failure: its traceback to the log, one line to the caller
            log.exception("part %s failed", part)
            return wire.encode_error("", error)

    async def handle(self, payload: bytes, *, deltas: bool = True) -> AsyncGenerator[bytes]:
        """Yields the reply to an ``ask``: deltas (if wanted), then exactly one ``answer`` or ``error``.

        Never raises but for its own cancellation; closing the iterator cancels the generation.
        """
        try:
            ask = wire.decode_ask(payload)
            if ask.id in self._calls:
                raise MessageError(f"request {ask.id!r} is already running")
        except ProtocolError as error:
            yield wire.encode_error("", error)
            return
        async with aclosing(self._serve(ask, deltas)) as messages:
            async for message in messages:
                yield message

    async def _serve(self, ask: wire.Ask, deltas: bool) -> AsyncGenerator[bytes]:
        started, outcome, usage = self._clock.now(), "cancelled", Usage()
        call = self._calls[ask.id] = Call(self._backend.stream(ask.messages, ask.options))
        last, span = b"", spans.work(ask.trace, self._model, ask.options)
        try:
            async with aclosing(spans.worked(span, call) if tracing.on() else aiter(call)) as pieces:
                async for text in pieces:
                    if deltas:
                        yield wire.encode_delta(ask.id, len(call.pieces) - 1, text)
            last, outcome, usage = self._finish(ask.id, call, started, deltas)
        except AiflowError as error:
            last, outcome = wire.encode_error(ask.id, error), "errors"
        except Exception as error:  # a bug in a back end: its traceback to the log, one line to the asker
            log.exception("back end of request %s failed", ask.id)
            last, outcome = wire.encode_error(ask.id, error), "errors"
        finally:
            del self._calls[ask.id]
            done = self._done
            self._done = replace(done, usage=done.usage + usage, **{outcome: getattr(done, outcome) + 1})
        yield last

    def _finish(self, request: str, call: Call, started: float, deltas: bool) -> tuple[bytes, str, Usage]:
        assert call.answer is not None
        usage = replace(call.answer.usage, seconds=self._clock.now() - started)
        answer = replace(call.answer, usage=usage)
        said = deltas and "".join(call.pieces) == answer.text
        outcome = "cancelled" if answer.finish == "cancelled" else "answered"
        return wire.encode_answer(request, answer, with_text=not said), outcome, usage

    async def close(self) -> None:
        """Cancels what runs and frees the backend."""
        for call in list(self._calls.values()):
            call.cancel()
        if self._party is not None:
            self._party.close()
        for part in self.parts.values():
            part.close()
        await self._backend.close()
