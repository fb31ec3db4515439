"""An agent's side of collaborative decoding: one node over its model for all sessions of the process.

Bytes come in and go out; who carries them is not known here. The node and the model's engine exist while sessions do.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch import Tensor

from aiflow.agents import wire as replies
from aiflow.agents.decoding import wire
from aiflow.agents.decoding.sitting import Scribe, Sitting
from aiflow.agents.decoding.speaker import Speaker
from aiflow.clock import Clock, VirtualClock
from aiflow.collaboration.decoding.engine import Engine, Read
from aiflow.collaboration.decoding.law import Law
from aiflow.collaboration.decoding.node import Node
from aiflow.collaboration.decoding.pilot import Pilot
from aiflow.collaboration.decoding.rules import rule
from aiflow.collaboration.decoding.tier import Job, Plan, Tier
from aiflow.errors import AiflowError, BackendError, InputError, MessageError

log = logging.getLogger(__name__)
T = TypeVar("T")

_REMEMBERED = 1000  # keys of sessions that were closed
JUDGE = Plan(block=1, ahead=8, eager=True, above=True)
"""Of a judge: it decodes by itself until drafts say otherwise, and a middle one streams upwards."""


class Guarded:
    """An engine that several event loops may ask: one at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, threading.Lock()

    def read(self, asked: Sequence[Read]) -> list[Tensor]:
        """See `Engine.read`."""
        with self._lock:
            return self._engine.read(asked)

    def close(self, session: int) -> None:
        """See `Engine.close`."""
        with self._lock:
            self._engine.close(session)


@dataclass(frozen=True, kw_only=True)
class _Start:
    """What a tier starts with, once the slow part of opening is done."""

    job: Job
    said: list[int]
    extra: Any
    scribe: Scribe | None = None


class Party:
    """Takes part in sessions with one model."""

    def __init__(self, speaker: Callable[[], Speaker], clock: Clock) -> None:
        """``speaker``: makes it; called once, when the first session or question about it comes."""
        self._make, self._clock = speaker, clock
        self._speaker: Speaker | None = None
        self._making = threading.Lock()
        self._engine: Guarded | None = None
        self.nodes: dict[asyncio.AbstractEventLoop, Node] = {}
        self.sittings: dict[str, Sitting] = {}
        self._dropped: dict[str, None] = {}
        self.rounds = 0
        """Forward passes of the nodes that have ended."""

    async def card(self) -> bytes:
        """A ``card``, or an ``error``."""
        try:
            speaker = await self._aside(self._speaks)
        except AiflowError as error:
            return replies.encode_error("", error)
        ends = sorted(speaker.ends)
        parts = dict(speaker.parts)
        return wire.encode(wire.Card(context=speaker.context, ends=ends, vocabulary=speaker.vocabulary, parts=parts))

    async def session(self, payload: bytes) -> AsyncGenerator[bytes]:
        """Opens a session and yields bundles until it is closed. Never raises but for its own cancellation."""
        sitting = None
        try:
            try:
                asked = _opening(payload)
                if asked.key in self.sittings or asked.key in self._dropped:
                    raise MessageError(f"session {asked.key!r} is already open, or closed")
                sitting = self.sittings[asked.key] = Sitting(asked.key, self._clock)
                start = await self._aside(partial(self._prepare, asked))
                self._seat(sitting, asked, start)
            except AiflowError as error:
                yield wire.bundle([(wire.NEWS, replies.encode_error("", error))])
                return
            except Exception as error:  # a tokenizer's or processor's failure is this session's alone
                log.exception("a session of collaborative decoding cannot be opened")
                yield wire.bundle([(wire.NEWS, replies.encode_error("", error))])
                return
            async for parts in sitting.outbox.bundles():
                if sitting.abandoned:
                    return
                if parts:
                    yield parts
        finally:
            if sitting is not None:
                self._leave(sitting)

    def push(self, key: str, index: int, frame: bytes, above: bool) -> None:
        """The frame number ``index`` from the tier above or below; of a session that is not here it is dropped."""
        sitting = self.sittings.get(key)
        if sitting is not None:
            sitting.deliver(index, frame, above=above)

    def drop(self, key: str) -> None:
        """Closes a session, if it is here."""
        sitting = self.sittings.get(key)
        if sitting is not None:
            self._leave(sitting)
        else:  # its opening may be on the way: calls between processes overtake each other
            self._dropped[key] = None
            while len(self._dropped) > _REMEMBERED:
                del self._dropped[next(iter(self._dropped))]

    async def tell(self, payload: bytes) -> bytes:
        """Steers a session; a ``state``, or an ``error``."""
        try:
            told = wire.decode(payload, wire.Tell)
            sitting = self.sittings.get(told.key)
            if sitting is None or sitting.seat is None:
                raise MessageError(f"there is no session {told.key!r}")
        except AiflowError as error:
            return replies.encode_error("", error)
        seat, tier = sitting.seat, sitting.seat.tier
        said = tier.answer
        if told.verb == "reopen":
            tier.reopen(told.above)
        elif told.verb == "lead":
            tier.lead()
        seat.flush()
        seat.node.wake()
        return wire.encode(wire.State(said=said, rounds=seat.rounds, accepted=tier.accepted, judged=tier.judged))

    def close(self) -> None:
        """Ends all sessions."""
        for sitting in list(self.sittings.values()):
            sitting.fail(BackendError("the model was closed; create the back end again."))
            self._leave(sitting)

    def _speaks(self) -> Speaker:
        with self._making:
            if self._speaker is None:
                self._speaker = self._make()
                self._engine = Guarded(self._speaker.engine)
            return self._speaker

    def _prepare(self, asked: wire.Draft | wire.Judge) -> _Start:
        """The slow part: tokens and images. Raises InputError."""
        speaker = self._speaks()
        if isinstance(asked, wire.Judge):
            wire.differs("the device", asked.parts, "the judge", dict(speaker.parts))
            if len(asked.ids) + asked.limit > speaker.context:
                raise InputError(f"{len(asked.ids) + asked.limit} tokens are too many; {speaker.context} can be read.")
            job = _job(asked, asked.ids, asked.limit, speaker)
            return _Start(job=job, said=asked.said, extra=speaker.images(_images(asked), asked.ids))
        prompt = speaker.prompt([turn.message() for turn in asked.turns])
        limit = min(asked.limit, asked.context - len(prompt.ids))
        if limit < 1:
            raise InputError(
                f"the conversation has {len(prompt.ids)} tokens and the agents read {asked.context}, the answer "
                "included; shorten the conversation or use models with a longer context."
            )
        scribe = Scribe(
            speaker.decode,
            names=asked.names,
            ends=asked.ends,
            stop=(*asked.stop, *prompt.stop),
            limit=limit,
            provisional=asked.provisional,
        )
        return _Start(job=_job(asked, prompt.ids, limit, speaker), said=[], extra=prompt.extra, scribe=scribe)

    def _seat(self, sitting: Sitting, asked: wire.Draft | wire.Judge, start: _Start) -> None:
        law = Law(
            temperature=asked.temperature,
            top_p=asked.top_p,
            banned=self._speaks().silent,
            vocabulary=start.job.vocabulary,
        )
        say = rule(asked.mode, law, seed=asked.seed, tier=asked.tier, top=asked.top)
        bottom = start.scribe is not None
        tier = Tier(start.job, say, JUDGE, bottom=bottom, top=asked.top, said=start.said)
        tier.session = asked.above
        if self.sittings.get(sitting.key) is not sitting:
            return  # dropped meanwhile
        sitting.tell(wire.Opened(ids=list(start.job.prompt) if bottom else [], limit=start.job.limit))
        up = None if asked.top else sitting.send(wire.UP)
        down = None if bottom else sitting.send(wire.DOWN)
        seat = self._node().seat(tier, up=up, down=down, extra=start.extra, failed=partial(self._failed, sitting))
        sitting.seat = seat
        if start.scribe is not None:
            seat.changed = self._watch(sitting, start.scribe, tier)
            seat.node.wake()

    def _watch(self, sitting: Sitting, scribe: Scribe, tier: Tier) -> Callable[[Tier], None]:
        pilot = Pilot(tier, told=lambda: sitting.outbox.put(wire.UP, tier.poll()))

        def changed(tier: Tier) -> None:
            pilot(self._clock.now())
            news = scribe.news(tier)
            if news is not None:
                sitting.tell(news)

        return changed

    def _failed(self, sitting: Sitting, error: Exception) -> None:
        if not isinstance(error, AiflowError):
            log.error("the model failed in session %s", sitting.key, exc_info=error)
            error = BackendError(f"the model failed: {type(error).__name__}: {error}")
        sitting.fail(error)

    def _leave(self, sitting: Sitting) -> None:
        self.sittings.pop(sitting.key, None)
        seat, sitting.seat = sitting.seat, None
        if seat is None:
            return
        node = seat.node
        node.leave(seat)
        if not node.seats:
            for loop in [loop for loop, one in self.nodes.items() if one is node]:
                del self.nodes[loop]
            node.close()

    def _node(self) -> Node:
        """Of the running event loop; there is one while it has sessions."""
        loop = asyncio.get_running_loop()
        if loop not in self.nodes:
            assert self._engine is not None
            node = Node(self._engine, self._clock, threaded=not isinstance(self._clock, VirtualClock))
            self.nodes[loop] = node
            loop.create_task(node.run()).add_done_callback(partial(self._ended, node))
        return self.nodes[loop]

    def _ended(self, node: Node, task: "asyncio.Task[None]") -> None:
        self.rounds += node.rounds
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a node of collaborative decoding failed", exc_info=error)
            for sitting in [s for s in self.sittings.values() if s.seat is not None and s.seat.node is node]:
                sitting.fail(BackendError(f"collaborative decoding failed: {type(error).__name__}: {error}"))

    async def _aside(self, work: Callable[[], T]) -> T:
        """In a thread, unless time is simulated: that knows no threads."""
        if isinstance(self._clock, VirtualClock):
            return work()
        return await asyncio.to_thread(work)


def _opening(payload: bytes) -> wire.Draft | wire.Judge:
    from aiflow import codec

    if codec.decode(payload).kind == "draft":
        return wire.decode(payload, wire.Draft)
    return wire.decode(payload, wire.Judge)


def _job(asked: wire.Draft | wire.Judge, ids: Sequence[int], limit: int, speaker: Speaker) -> Job:
    ends = frozenset(asked.ends)
    return Job(session=asked.session, prompt=tuple(ids), limit=limit, ends=ends, vocabulary=speaker.vocabulary)


def _images(asked: wire.Judge) -> list[Any]:
    from aiflow.types import Image

    return [Image(data) for data in asked.images]
