"""One split inference under way, at the asker: opens it at the device and carries messages between it and the server.

It sees the parties' messages as bytes and knows no model and no Ray.
"""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aiflow.agents.decoding.wire import News, Strict, differs
from aiflow.agents.split import wire
from aiflow.agents.split.gauge import Gauge, Rate
from aiflow.cluster.network import Channel, Network
from aiflow.collaboration.familial import drive, split
from aiflow.collaboration.familial.drive import Inbox, Turn
from aiflow.errors import AgentDiedError, AgentError, AiflowError, DeadlineError, InputError

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent
    from aiflow.agents.split.how import Asked

PROBE = 16 * 1024
"""Bytes that measure a link on which nothing has been sent yet."""
PART = "split"
_FAREWELL = 5.0
_RATES: "WeakKeyDictionary[Network, dict[tuple[str, str], Rate]]" = WeakKeyDictionary()
_background: "set[asyncio.Task[Any]]" = set()


class Run:
    """The session ``key`` of two agents. Start it, take ``next`` until it has finished, ``finish`` and close it."""

    def __init__(self, device: "Agent", server: "Agent", asked: "Asked", key: str) -> None:
        self.device, self.server, self._asked, self._key = device, server, asked, key
        self._network, self._clock = device.network, device.network.clock
        ends = device.node, server.node
        self._rate = _RATES.setdefault(self._network, {}).setdefault(ends, Rate())
        self._up: Channel[bytes] = self._network.channel(*ends)
        self._down: Channel[bytes] = self._network.channel(*reversed(ends))
        self._gauges = Gauge(self._rate), Gauge(Rate())
        self._news: Channel[wire.State | None] = self._network.channel(device.node, asked.sender)
        self._verdicts, self._frames = Inbox(), Inbox()
        self._told: asyncio.Queue[wire.State | BaseException] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._crossed: Counter[str] = Counter()
        self._heard = self._clock.now()
        self._died: AgentDiedError | None = None
        self._about: wire.About | None = None
        self._state: wire.State | None = None
        self._chosen = False
        self._byes: list[bytes] = []
        self.outages = 0
        self._begun = asyncio.Event()
        self.opened: wire.Opened

    def start(self) -> None:
        """Begins; what goes wrong is raised by ``next``."""
        self._spawn(self._main())
        self._spawn(self._relay(self._up, self._gauges[0], self._frames))
        self._spawn(self._relay(self._down, self._gauges[1], self._verdicts))
        self._spawn(drive.serve(self._frames, self._serve, self._send_down))
        self._spawn(self._deliver())

    async def next(self) -> wire.State:
        """What the device has to say, as it comes to the asker. Raises what ended the session."""
        item = await self._told.get()
        if isinstance(item, BaseException):
            raise item
        return item

    @property
    def rate(self) -> float:
        """Bytes/s to the server, as far as measured."""
        return self._rate.rate

    @property
    def break_even(self) -> float:
        """The rate from which on activations pay for the prompt."""
        return split.break_even(*self._sizes(), self._below()) if self._about else math.inf

    @property
    def link_seconds(self) -> float:
        """In which something was on its way, up or down."""
        return sum(gauge.busy for gauge in self._gauges)

    async def finish(self) -> dict[str, int]:
        """Ends the session at the device; bytes by link of all of it."""
        try:
            reply = await self._call(self.device, wire.Leave(key=self._key))
            self._byes = wire.decode(reply, wire.Frames).frames
        except AiflowError:
            self._byes = []  # the lease ends it
        for bye in self._byes:
            self._up.put(bye, len(bye))  # counted, and not waited for
        ways = (self._up, self._down, self._news)
        return dict(sum((Counter(way.bytes) for way in ways), self._crossed))

    def close(self) -> None:
        """Ends all that runs; both sides hear of it when they can."""
        for task in list(self._tasks):
            task.cancel()
        farewell = asyncio.ensure_future(self._farewell())
        _background.add(farewell)
        farewell.add_done_callback(_background.discard)

    async def step(self, verdicts: Sequence[bytes], *, lost: bool) -> Turn:
        """The device as `familial.drive` sees it. Until the server has answered once, nothing is sent."""
        before = self._state
        assert before is not None
        if verdicts:
            self._heard = self._clock.now()
        elif not before.wants and self._clock.now() > self._heard + self._asked.patience:
            raise self._died or DeadlineError(
                f"agent {self.server.name!r} was not heard of for {self._asked.patience:g} s; "
                "policy='best_effort' ends with the device's own text.",
                self.server.name,
            )
        met = self._about is not None
        transport = None
        if met and (not self._chosen or (before.silent and verdicts)):
            lost = lost or (before.silent and not verdicts)  # it has not been asked yet where it is
            transport, self._chosen = self._choose(), True
        self.outages += lost and not before.silent
        step = wire.Step(key=self._key, verdicts=list(verdicts), lost=lost, hold=not met, transport=transport)
        state = wire.decode(await self._call(self.device, step), wire.State)
        self._tell(state)
        return _turn(state)

    async def _main(self) -> None:
        opening = self._asked.open(self._key, [self.device.name, self.server.name])
        payload = wire.encode(opening)
        self._crossed.update((await self._network.send(self._asked.sender, self.device.node, len(payload))).bytes)
        meeting = self._spawn(self._meet())
        self.opened = wire.decode(await self._call(self.device, opening), wire.Opened)
        self._begun.set()
        self._tell(self.opened.state)
        meeting.add_done_callback(lambda _: self._verdicts.news.set())
        await drive.drive(
            self, self._send_up, self._verdicts, self._clock, lambda _: None, patience=self._asked.silence
        )

    async def _meet(self) -> None:
        """Who the server is, and how fast the link to it; both are remembered."""
        about = self.server.facts.get(PART)
        if about is None:
            about = self.server.facts[PART] = wire.decode(await self._ask(b""), wire.About)
        if self._asked.transport == "auto" and math.isinf(self._rate.rate):
            await self._ask(bytes(PROBE))
        await self._begun.wait()
        self._check(about)
        self._about, self._heard = about, self._clock.now()

    async def _ask(self, padding: bytes) -> bytes:
        payload = wire.encode(wire.Ask(padding=padding))
        up = await self._network.send(self.device.node, self.server.node, len(payload))
        began = self._clock.now()
        reply = await self._call(self.server, wire.Ask(padding=padding))
        if self._network.emulate or padding:
            self._rate.add(len(payload), up.seconds if self._network.emulate else self._clock.now() - began)
        down = await self._network.send(self.server.node, self.device.node, len(reply))
        for one in (up, down):
            self._crossed.update(one.bytes)
        return reply

    def _check(self, server: wire.About) -> None:
        """Raises InputError for agents that are not of one family."""
        own, opened = self.opened.about, self.opened
        differs("the device", own.parts, "the server", server.parts)
        if (own.width, own.weights) != (server.width, server.weights):
            raise InputError(
                f"agents {self.device.name!r} and {self.server.name!r} have different weights; "
                "use a member of a family and the full model of the same one."
            )
        if own.dtype != server.dtype and not self._asked.manner.lossy:
            raise InputError(
                f"the device computes in {own.dtype} and the server in {server.dtype}, which changes the text; "
                "give both the same dtype, or allow it by lossy=True."
            )
        if opened.exit > server.depth or opened.prompt + opened.limit > server.context:
            raise InputError(
                f"exit {opened.exit} and {opened.prompt + opened.limit} tokens are too many for a server of "
                f"{server.depth} blocks that reads {server.context}; lower max_tokens or swap the agents."
            )

    def _sizes(self) -> tuple[int, int, split.Dtype]:
        opened = self.opened
        dtype: Any = self._asked.manner.dtype or opened.about.dtype
        return max(1, opened.prompt - opened.images), opened.about.width, dtype

    def _below(self) -> float:
        """Seconds that the server needs for the prompt in the blocks that the device has."""
        assert self._about is not None
        one, wide = self._about.seconds
        n = self.opened.prompt
        return self.opened.exit * max(0.0, one + (n - 1) * (wide - one) / (wire.WIDE - 1))

    def _choose(self) -> wire.Way:
        if self._asked.transport != "auto":
            return self._asked.transport  # type: ignore[return-value]  # checked
        return split.choose(*self._sizes(), self._rate.rate, self._below())

    async def _serve(self, frames: Sequence[bytes]) -> Sequence[bytes]:
        try:
            reply = await self._call(self.server, wire.Frames(frames=list(frames)))
        except AgentDiedError as error:
            self._died = error  # what was on its way is lost; the device asks again
            return []
        self._died = None
        return wire.decode(reply, wire.Frames).frames

    def _send_up(self, frame: bytes) -> float:
        self._up.put(frame, len(frame))
        return self._gauges[0].begin(len(frame), self._clock.now())

    def _send_down(self, verdict: bytes) -> None:
        self._down.put(verdict, len(verdict))
        self._gauges[1].begin(len(verdict), self._clock.now())

    async def _relay(self, channel: Channel[bytes], gauge: Gauge, inbox: Inbox) -> None:
        async for frame in channel:
            gauge.end(len(frame), self._clock.now(), learn=self._network.emulate)
            inbox.put(frame)

    def _tell(self, state: wire.State) -> None:
        new = self._state is None or state.final or state.finish or state.taken_back > self._state.taken_back
        self._state = state
        if new or state.provisional:
            shown = [(s.text, s.place, s.tier) for s in state.provisional]
            news = News(final=state.final, provisional=shown, finish=state.finish, tokens=state.tokens)
            self._news.put(state, len(wire.encode(news)))

    async def _deliver(self) -> None:
        async for state in self._news:
            if state is not None:
                self._told.put_nowait(state)

    async def _call(self, agent: "Agent", message: Strict) -> bytes:
        try:
            return await agent.host.call(PART, wire.encode(message))
        except AgentError as error:
            error.agent = agent.name
            raise

    async def _farewell(self) -> None:
        for way in (self._up, self._down, self._news):
            await way.cancel()
        with contextlib.suppress(AiflowError, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                if not self._byes:
                    reply = await self._call(self.device, wire.Leave(key=self._key))
                    self._byes = wire.decode(reply, wire.Frames).frames
                if self._byes:
                    await self._call(self.server, wire.Frames(frames=self._byes))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._told.put_nowait(error)


def _turn(state: wire.State) -> Turn:
    return Turn(
        frames=state.frames,
        wants=state.wants,
        silent=state.silent,
        done=state.done,
        settled=state.settled,
    )
