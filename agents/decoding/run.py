"""One collaborative decoding under way, at the asker: opens it everywhere, carries frames, mends what breaks.

It sees frames as bytes and knows no model and no Ray. When the process of a judge dies, the judges from there on are
opened anew with the final tokens that the tier below holds, and the text goes on as if nothing had happened.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from aiflow import codec
from aiflow.agents import wire as replies
from aiflow.agents.deadline import Deadline
from aiflow.agents.decoding import wire
from aiflow.agents.decoding.events import Committed
from aiflow.agents.decoding.lines import Leg, Lines
from aiflow.cluster.network import Channel
from aiflow.errors import AgentDiedError, AgentError, BackendError, DeadlineError, MessageError
from aiflow.types import Message, Options

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent

SILENCE = 10.0
"""Seconds beyond its patience after which a judge that says nothing counts as lost; it is asked every two seconds."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be decoded, and how.

    ``patience``: seconds that a dead judge may take to come back; ``fallback``: whether the tier below then goes on
    alone.
    """

    messages: Sequence[Message]
    options: Options
    mode: str
    seed: int
    sender: str
    provisional: bool
    patience: float
    fallback: bool


class Run:
    """The session of ``agents``, the device first. Start it, take ``next`` until it has finished, and close it."""

    def __init__(self, agents: Sequence["Agent"], asked: Asked) -> None:
        self._asked, self._network = asked, agents[0].network
        number = secrets.randbits(32)
        self.legs = [Leg(agent=agent, tier=k, session=number) for k, agent in enumerate(agents)]
        self.prompt: list[int] = []
        self.rebuilt = 0
        self._leaders = [(0, agents[-1].name)]
        self._inbox: asyncio.Queue[wire.News | BaseException] = asyncio.Queue()
        self._news: Channel[wire.News] = self._network.channel(agents[0].node, asked.sender)
        self._lines = Lines(self._network)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._mending: tuple[int, asyncio.Task[Any]] | None = None
        self._silent: Agent | None = None
        self._crossed: Counter[str] = Counter()
        self._parts: dict[str, str] = {}
        self._ends: list[int] = []
        self._limit = 0

    def start(self) -> None:
        """Begins; what goes wrong is raised by ``next``."""
        for below, above in pairwise(self.legs):
            self._lines.connect(below, above)
        self._spawn(self._deliver())
        self._spawn(self._watch())
        self._spawn(self._start())

    async def next(self) -> wire.News:
        """What the device has to say. Raises what ended the session."""
        item = await self._inbox.get()
        if isinstance(item, BaseException):
            raise item
        return item

    @property
    def crossed(self) -> dict[str, int]:
        """Bytes by link so far: frames, opening messages, answers to them, and news."""
        return dict(self._crossed + self._lines.crossed + Counter(self._news.bytes))

    def committed(self, tokens: int) -> tuple[Committed, ...]:
        """Who stands for which of the first ``tokens`` tokens."""
        stops = [*(start for start, _ in self._leaders[1:]), tokens]
        spans = [(start, min(stop, tokens), name) for (start, name), stop in zip(self._leaders, stops, strict=True)]
        return tuple(Committed(start=start, stop=stop, agent=name) for start, stop, name in spans if start < stop)

    async def report(self) -> list[wire.State | None]:
        """What each agent did for the session; None where it cannot say."""
        states = await asyncio.gather(*(self._tell(leg, "report") for leg in self.legs), return_exceptions=True)
        return [None if isinstance(state, BaseException) else state for state in states]

    async def close(self) -> None:
        """Closes the session everywhere."""
        for leg in self.legs:
            leg.agent.host.drop(leg.key)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._lines.close()
        await self._news.cancel()

    async def _start(self) -> None:
        agents = [leg.agent for leg in self.legs]
        cards = await asyncio.gather(*map(self._card, agents))
        wire.check([agent.name for agent in agents], cards)
        self._parts, self._ends = dict(cards[0].parts), cards[-1].ends
        device, asked = self.legs[0], self._asked
        opening = wire.Draft(
            **self._common(device, asked.options.max_tokens),
            turns=[wire.Turn.of(message) for message in asked.messages],
            stop=list(asked.options.stop),
            context=min(card.context for card in cards),
            names=[agent.name for agent in agents],
            provisional=asked.provisional,
        )
        await self._open(device, opening, asked.sender)
        opened = await device.opened
        self.prompt, self._limit = opened.ids, opened.limit
        for leg in self.legs[1:]:
            leg.tasks.append(self._spawn(self._judge(leg, [])))

    async def _judge(self, leg: Leg, said: list[int]) -> None:
        opening = wire.Judge(
            **self._common(leg, self._limit),
            ids=self.prompt,
            said=said,
            images=[image.data for message in self._asked.messages for image in message.images],
            parts=self._parts,
        )
        device = self.legs[0].agent.node
        await self._open(leg, opening, device)
        opened = await leg.opened
        await self._send(leg.agent.node, device, len(wire.encode(opened)))

    def _common(self, leg: Leg, limit: int) -> dict[str, Any]:
        top, options = leg is self.legs[-1], self._asked.options
        return {
            "key": leg.key,
            "session": leg.session,
            "above": leg.session if top else self.legs[self.legs.index(leg) + 1].session,
            "tier": leg.tier,
            "top": top,
            "mode": self._asked.mode,
            "temperature": float(options.temperature),
            "top_p": float(options.top_p),
            "seed": self._asked.seed,
            "ends": self._ends,
            "limit": limit,
        }

    async def _card(self, agent: "Agent") -> wire.Card:
        if agent.card is None:
            payload = await agent.host.card()
            await self._send(agent.node, self.legs[0].agent.node, len(payload))
            _raise_error(payload)
            agent.card = wire.decode(payload, wire.Card)
        return agent.card

    async def _open(self, leg: Leg, opening: wire.Strict, source: str) -> None:
        payload = wire.encode(opening)
        await self._send(source, leg.agent.node, len(payload))
        leg.tasks.append(self._spawn(self._listen(leg, payload)))

    async def _send(self, source: str, target: str, nbytes: int) -> None:
        self._crossed.update((await self._network.send(source, target, nbytes)).bytes)

    async def _listen(self, leg: Leg, payload: bytes) -> None:
        try:
            leg.heard = self._network.clock.now()
            async with aclosing(leg.agent.host.session(payload)) as bundles:
                async for parts in bundles:
                    leg.heard = self._network.clock.now()
                    for tag, body in wire.unbundle(parts):
                        self._take(leg, tag, body)
            raise BackendError("a session of collaborative decoding ended early")
        except AgentDiedError as error:
            error.agent = leg.agent.name
            if leg is self.legs[0]:
                raise
            self._lost(self.legs.index(leg), error)
        except AgentError as error:
            error.agent = leg.agent.name
            raise

    def _take(self, leg: Leg, tag: int, body: bytes) -> None:
        k = self.legs.index(leg)
        if tag == wire.UP:
            self._lines.up(k, body)
        elif tag == wire.DOWN:
            self._lines.down(k, body)
        elif codec.decode(body).kind == "news":
            self._news.put(wire.decode(body, wire.News), len(body))
        else:
            _raise_error(body)
            leg.opened.set_result(wire.decode(body, wire.Opened))

    async def _deliver(self) -> None:
        async for news in self._news:
            self._inbox.put_nowait(news)

    async def _tell(self, leg: Leg, verb: str, above: int = 0) -> wire.State:
        payload = await leg.agent.host.tell(wire.encode(wire.Tell(key=leg.key, verb=verb, above=above)))  # type: ignore[arg-type]
        _raise_error(payload)
        return wire.decode(payload, wire.State)

    def _lost(self, k: int, error: AgentError) -> None:
        if self._mending is not None and not self._mending[1].done():
            k = min(k, self._mending[0])
            self._mending[1].cancel()
        self._cut(k)
        self._mending = k, self._spawn(self._mend(k, error))

    def _cut(self, k: int) -> None:
        """Closes the session at the judges from ``k`` on, and drops what is on its way to and from them."""
        self._lines.cut(k - 1)
        for leg in self.legs[k:]:
            leg.agent.host.drop(leg.key)
            for task in leg.tasks:
                if task is not asyncio.current_task():
                    task.cancel()

    async def _mend(self, k: int, error: AgentError) -> None:
        """Opens the judges from ``k`` on anew, but for those that do not come back; raises ``error`` for the top."""
        lost, back = self.legs[k:], []
        for leg in lost:
            if leg.agent is not self._silent and await self._returns(leg):
                back.append(leg)
        if (not back or back[-1] is not lost[-1]) and not self._asked.fallback:
            raise error
        self.legs[k:] = [Leg(agent=leg.agent, tier=leg.tier, session=secrets.randbits(32)) for leg in back]
        for below, above in pairwise(self.legs[k - 1 :]):
            self._lines.connect(below, above)
        below = self.legs[k - 1]
        try:
            state = await (self._tell(below, "reopen", self.legs[k].session) if back else self._tell(below, "lead"))
        except (AgentError, MessageError) as worse:
            if k == 1:
                raise
            self._lost(k - 1, AgentDiedError(f"a judge lost its session: {worse}", below.agent.name))
            return
        self.rebuilt += bool(back)
        if self.legs[-1].agent.name != self._leaders[-1][1]:
            self._leaders.append((len(state.said), self.legs[-1].agent.name))
        for leg in self.legs[k:]:
            leg.tasks.append(self._spawn(self._judge(leg, state.said)))

    async def _returns(self, leg: Leg) -> bool:
        try:
            async with Deadline(self._asked.patience, self._network.clock, leg.agent.name, "come back").limit():
                await leg.agent.host.ready()
        except (AgentDiedError, DeadlineError):
            return False
        return True

    async def _watch(self) -> None:
        """Gives up judges that say nothing: one that lives answers at least when it is asked again."""
        clock, longest = self._network.clock, self._asked.patience + SILENCE
        while True:
            await clock.sleep_until(clock.now() + longest / 4)
            for k, leg in enumerate(self.legs):
                if k and leg.heard is not None and clock.now() > leg.heard + longest:
                    self._silent = leg.agent
                    message = f"agent {leg.agent.name!r} was silent for {longest:g} s; fallback=True goes on alone."
                    self._lost(k, DeadlineError(message, leg.agent.name))
                    break

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._inbox.put_nowait(error)


def _raise_error(payload: bytes) -> None:
    """Raises what an ``error`` message carries."""
    if codec.decode(payload).kind == "error":
        failure: Mapping[str, Any] = codec.decode(payload).fields
        replies.decode_reply(payload, str(failure.get("id", "")))
