"""The agents of one partitioned model: who is there, how the model is cut over them, and what each holds.

Who does not answer is absent, and the model is cut anew over those that are left; absent ones are looked for and used
again. ``version`` counts the cuts: whoever works by an older one has to build his caches anew. Knows no answers.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiflow.agents.deadline import Deadline
from aiflow.agents.decoding.wire import Strict
from aiflow.agents.partition import wire
from aiflow.collaboration.partition import cut as cutting
from aiflow.collaboration.partition.cut import ASKER, Cut, Site, Sizes, Task
from aiflow.errors import AgentDiedError, AgentError, InputError, ProtocolError

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent
    from aiflow.cluster.network import Network

LOOK = 0.25
"""Seconds for which a request waits for an absent agent that is looked for."""
AGAIN = 1.0
"""Seconds between two looks for an absent agent."""
STRIKES = 3
"""Damaged replies of an agent in a row after which it is absent."""
LOADING = 120.0
"""Seconds that a process may take to start."""
SLOWEST = 20e6
"""Bytes/s at which any node reads weights."""


@dataclass(frozen=True, kw_only=True)
class How:
    """``patience``: seconds beyond its usual time after which a silent agent is lost; ``rebalance``: an agent that is
    back is used at once, not from the next request on; ``tokens``: of one request; ``sessions``: requests at once;
    ``task``: the requests that the cut is for.
    """

    patience: float
    rebalance: bool
    tokens: int
    sessions: int
    task: Task


class Pool:
    """``row``: the stages' agents in order, and their shares."""

    def __init__(self, agents: "Sequence[Agent]", node: str, how: How) -> None:
        self.agents = {agent.name: agent for agent in agents}
        self.node, self.how = node, how
        self.network: Network = agents[0].network
        self.abouts: dict[str, wire.About] = {}
        self.held: dict[str, int] = {}
        self.absent: dict[str, str] = {}
        self.version, self.active = 0, 0
        self.cut: Cut | None = None
        self._returned = False
        self._strikes: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self._looks: dict[str, asyncio.Task[None]] = {}

    @property
    def row(self) -> "list[tuple[Agent, cutting.Share]]":
        """The stages in order."""
        assert self.cut is not None
        return [(self.agents[share.name], share) for share in self.cut.shares]

    @property
    def sizes(self) -> Sizes:
        """Of the model."""
        about = next(iter(self.abouts.values()))
        return Sizes(
            blocks=tuple(about.blocks),
            embed=about.embed,
            norm=about.norm,
            head=about.head,
            tied=about.tied,
            cache=about.cache,
            activation=about.activation,
        )

    @property
    def context(self) -> int:
        """Tokens of prompt and answer."""
        return min(self.how.tokens, *(about.context for about in self.abouts.values()))

    async def begin(self) -> None:
        """At the start of a request that is counted in ``active``: looks for those that are absent.

        Cuts anew with those that are back if that disturbs nobody. Raises what `settle` raises.
        """
        fresh = self._search()
        if fresh:
            alarm = asyncio.ensure_future(self._sleep(LOOK))
            looks = [self._looks[name] for name in fresh]
            while not alarm.done() and not all(look.done() for look in looks):
                await asyncio.wait({alarm, *looks}, return_when=asyncio.FIRST_COMPLETED)
                looks = [look for look in looks if not look.done()]
            alarm.cancel()
        if self._returned and (self.active <= 1 or self.how.rebalance):
            self._anew()
        await self.settle()

    async def settle(self) -> None:
        """There is a cut, and its blocks are loaded.

        Raises BudgetError where the model does not fit, AgentDiedError where nobody is there, and what loading raises.
        """
        async with self._lock:
            while self.cut is None:
                await self._gather()
                planned = self._plan()
                if await self._load(planned):
                    self.cut, self._returned = planned, False
                    self.version += 1

    def lost(self, name: str, why: Exception, version: int) -> None:
        """An agent failed at work by the cut ``version``: it is absent, or has to be told again what to hold."""
        if version != self.version:
            return  # by a cut that is no more
        damaged = isinstance(why, ProtocolError)
        if damaged and self.cut is None:
            return  # it is being told anew what to hold
        self._strikes[name] = self._strikes.get(name, 0) + 1
        if not damaged or self._strikes[name] >= STRIKES:
            self._gone(name, why)
        self._anew()

    def well(self, name: str) -> None:
        """An agent did its work."""
        self._strikes.pop(name, None)

    @property
    def better(self) -> bool:
        """Whether somebody is back who is to be used at once."""
        return self._returned and self.how.rebalance

    def rebalance(self) -> None:
        """Cuts anew with those that are back, if that is another cut."""
        self._returned = False
        if self.cut is not None and self._plan().ranges != self.cut.ranges:
            self._anew()

    def idle(self) -> None:
        """Nobody waits: nobody is looked for."""
        for task in self._looks.values():
            task.cancel()
        self._looks.clear()

    async def call(self, agent: "Agent", payload: bytes, seconds: float, doing: str) -> bytes:
        """A reply of an agent's part. Raises DeadlineError after ``seconds``, AgentDiedError."""
        async with Deadline(seconds, self.network.clock, agent.name, doing).limit():
            try:
                return await agent.host.call(wire.PART, payload)
            except AgentError as error:
                error.agent = agent.name
                raise

    def expected(self, name: str, blocks: int, tokens: int) -> float:
        """Seconds that an agent needs for a pass."""
        decode, token, head = self.abouts[name].seconds
        return (blocks * (decode + token * tokens) + head) / self.network.topology.nodes[self.agents[name].node].speed

    def _anew(self) -> None:
        self.cut = None

    def _gone(self, name: str, why: Exception) -> None:
        self.abouts.pop(name, None)
        self.held.pop(name, None)
        self._strikes.pop(name, None)
        self.absent[name] = f"{type(why).__name__}: {why}"
        self._search()

    async def _gather(self) -> None:
        """Asks those that are not known who they are; who does not say it is absent."""
        unknown = [a for name, a in self.agents.items() if name not in self.abouts and name not in self.absent]
        found = await asyncio.gather(*(self._ask(agent) for agent in unknown), return_exceptions=True)
        for agent, about in zip(unknown, found, strict=True):
            if isinstance(about, AgentError | ProtocolError):
                self._gone(agent.name, about)
            elif isinstance(about, BaseException):
                raise about
        if not self.abouts:
            told = "; ".join(f"{name}: {why}" for name, why in self.absent.items())
            raise AgentDiedError(f"none of {len(self.agents)} agents answers ({told[:400]}).")

    async def _ask(self, agent: "Agent") -> None:
        if agent.host.starting:
            await agent.ready(LOADING)
        about = wire.decode(await self._control(agent, wire.Ask(), "say what it is"), wire.About)
        known = next(iter(self.abouts.values()), about)
        if about.model != known.model:
            raise InputError(
                f"agent {agent.name!r} has other weights or another dtype than the rest; give all the same model."
            )
        self.abouts[agent.name], self.held[agent.name] = about, about.held

    def _plan(self) -> Cut:
        """Raises BudgetError."""
        nodes = self.network.topology.nodes
        crowd = [self.agents[name].node for name in self.abouts]
        sites = []
        for name, about in self.abouts.items():
            node = nodes[self.agents[name].node]
            limits = [about.memory] if about.memory is not None else []
            limits += [node.memory / crowd.count(self.agents[name].node)] if node.memory is not None else []
            decode, token, head = (seconds / node.speed for seconds in about.seconds)
            sites.append(Site(name=name, memory=min(limits, default=None), decode=decode, prefill=token, head=head))
        return cutting.cut(self.sizes, sites, self._seconds, self.how.task)

    def _seconds(self, a: str, b: str, nbytes: int) -> float:
        start, end = (self.node if name == ASKER else self.agents[name].node for name in (a, b))
        return sum((self.network.ideal(x, y, nbytes) for x, y in self.hops(start, end, self.node)), 0.0)

    def hops(self, a: str, b: str, asker: str) -> list[tuple[str, str]]:
        """The ways that a message takes from node to node.

        Where links are emulated it goes straight; on a real network it goes, as it does there, through the asker.
        """
        if self.network.emulate or asker in (a, b):
            return [(a, b)]
        return [(a, asker), (asker, b)]

    async def _load(self, planned: Cut) -> bool:
        """Tells every agent that is there what to hold; False if one of them was lost by that."""
        ranges = {name: planned.ranges.get(name, (0, 0)) for name in self.abouts}
        freed = [name for name, (begin, end) in ranges.items() if begin == end and self.held.get(name)]
        wanted = [*freed, *planned.ranges]
        done = await asyncio.gather(*(self._tell(name, *ranges[name]) for name in wanted), return_exceptions=True)
        whole = True
        for name, error in zip(wanted, done, strict=True):
            if isinstance(error, AgentError | ProtocolError):
                self._gone(name, error)
                whole = False
            elif isinstance(error, BaseException):
                raise error
        return whole

    async def _tell(self, name: str, begin: int, end: int) -> None:
        agent, about = self.agents[name], self.abouts[name]
        load = wire.Load(
            model=about.model,
            begin=begin,
            end=end,
            tokens=self.how.tokens * self.how.sessions,
            memory=self.network.topology.nodes[agent.node].memory,
        )
        nbytes = cutting.needs(self.sizes, begin, end, 0) if begin < end else 0.0
        reply = await self._control(agent, load, "load its blocks", nbytes / SLOWEST)
        self.held[name] = wire.decode(reply, wire.Loaded).held

    async def _control(self, agent: "Agent", message: Strict, doing: str, more: float = 0.0) -> bytes:
        """A message from the pool's node, and its reply; what they take of links is in the network's totals."""
        payload = wire.encode(message)
        await self.carry(self.node, agent.node, len(payload), self.node)
        reply = await self.call(agent, payload, self.how.patience + more, doing)
        await self.carry(agent.node, self.node, len(reply), self.node)
        return reply

    async def carry(self, a: str, b: str, nbytes: int, asker: str) -> dict[str, int]:
        """Takes a message from node to node; its bytes by link."""
        crossed: Counter[str] = Counter()
        for x, y in self.hops(a, b, asker):
            crossed.update((await self.network.send(x, y, nbytes)).bytes)
        return dict(crossed)

    def _search(self) -> list[str]:
        """Looks for absent agents in the background, while somebody waits for an answer; those not looked for yet."""
        looked = {name for name, task in self._looks.items() if not task.done()}
        fresh = [name for name in self.absent if name not in looked and self.active]
        for name in fresh:
            self._looks[name] = asyncio.ensure_future(self._look(name))
        return fresh

    async def _look(self, name: str) -> None:
        while True:
            try:
                await self._ask(self.agents[name])
            except (AgentError, ProtocolError, InputError):
                await self._sleep(AGAIN)
                continue
            self.absent.pop(name, None)
            self._looks.pop(name, None)
            self._returned = True
            return

    async def _sleep(self, seconds: float) -> None:
        clock = self.network.clock
        await clock.sleep_until(clock.now() + seconds)
