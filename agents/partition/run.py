"""One answer of a partitioned model: tokens from the row of stages, whoever of them is lost on the way.

It carries the parties' messages from stage to stage as bytes, and begins a new epoch from the client's history when the
row has changed. Every wait has a deadline. Knows no text.
"""

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiflow.agents.partition import wire
from aiflow.agents.partition.events import Recovery, Served
from aiflow.agents.partition.pool import Pool
from aiflow.collaboration.partition.client import Client
from aiflow.collaboration.partition.cut import Share
from aiflow.collaboration.partition.wire import TOKEN, WORK, Token, Work
from aiflow.errors import AgentError, AiflowError, MessageError, ProtocolError

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent

SLOWER = 4.0
"""How much longer than expected a pass may take, beside the patience."""
_background: "set[asyncio.Task[Any]]" = set()


class _Lost(Exception):
    """An agent did not do its work."""

    def __init__(self, agent: str, why: Exception) -> None:
        super().__init__(agent)
        self.agent, self.why = agent, why


class Run:
    """``client`` holds the tokens; ``sender`` is the node where it is."""

    def __init__(self, pool: Pool, client: Client, sender: str) -> None:
        self._pool, self._client, self._sender = pool, client, sender
        self._row: list[tuple[Agent, Share]] = []
        self._version = -1
        self._met: dict[str, Agent] = {}
        self.crossed: Counter[str] = Counter()
        self.hidden: Counter[str] = Counter()
        self.recoveries: list[Recovery] = []

    @property
    def stages(self) -> tuple[Served, ...]:
        """Those that gave the last token."""
        return tuple(
            Served(agent=a.name, node=a.node, begin=s.begin, end=s.end, held=self._pool.held.get(a.name, 0))
            for a, s in self._row
        )

    async def token(self) -> Token:
        """The next token. Raises what `Pool.settle` raises, and InputError."""
        failures: list[tuple[str, str, float]] = []
        while True:
            try:
                told = await self._try()
            except _Lost as lost:
                why = f"{type(lost.why).__name__}: {lost.why}"
                failures.append((lost.agent, why, self._pool.network.clock.now()))
                self._pool.lost(lost.agent, lost.why, self._version)
                self._version = -1
                continue
            now, said = self._pool.network.clock.now(), len(self._client.said) - 1
            self.recoveries += [Recovery(agent=a, tokens=said, why=w, seconds=now - at) for a, w, at in failures]
            return told

    def leave(self) -> None:
        """Tells all stages that the session has ended; waits for none of them."""
        payload = wire.encode(wire.Leave(session=self._client.session))
        for agent in self._met.values():
            if not self._pool.held.get(agent.name):
                continue  # it has lost the session, and all else
            for x, y in self._pool.hops(self._sender, agent.node, self._sender):
                self.crossed.update(dict.fromkeys(self._pool.network.route(x, y), len(payload)))
            task = asyncio.ensure_future(self._farewell(agent, payload))
            _background.add(task)
            task.add_done_callback(_background.discard)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody waits for it

    async def _try(self) -> Token:
        pool = self._pool
        if pool.better:
            pool.rebalance()
        if self._version != pool.version or pool.cut is None:
            await pool.settle()
            self._version, self._row = pool.version, pool.row
            self._met |= {agent.name: agent for agent, _ in self._row}
            work = self._client.begin(int(pool.sizes.activation))
        else:
            work = [self._client.next()]
        for one in work[:-1]:
            await self._told(one)
        told = await self._told(work[-1])
        for agent, _ in self._row:
            pool.well(agent.name)
        return told

    async def _told(self, work: bytes) -> Token:
        """What the last stage says to a message, once the client has taken it."""
        last = await self._through(work)
        try:
            told = self._client.take(last)
            if told is None:
                raise MessageError("a token came back that was taken before.")
        except ProtocolError as error:
            raise _Lost(self._row[-1][0].name, error) from error
        return told

    async def _through(self, data: bytes) -> bytes:
        """A message along the row, and what the last stage says to it."""
        at, row = self._sender, self._row
        tokens = Work.decode(data).tokens
        for place, (agent, share) in enumerate(row):
            crossed = await self._pool.carry(at, agent.node, len(data), self._sender)
            self.crossed.update(crossed)
            self.hidden.update(crossed if place else {})
            seconds = self._pool.how.patience
            seconds += SLOWER * self._pool.expected(agent.name, share.end - share.begin, tokens)
            try:
                reply = await self._pool.call(agent, data, seconds, "do its stage")
                data = wire.checked(reply, TOKEN if place == len(row) - 1 else WORK)
            except (AgentError, ProtocolError) as error:
                raise _Lost(agent.name, error) from error
            at = agent.node
        self.crossed.update(await self._pool.carry(at, self._sender, len(data), self._sender))
        return data

    async def _farewell(self, agent: "Agent", payload: bytes) -> None:
        with contextlib.suppress(AiflowError):
            await self._pool.call(agent, payload, self._pool.how.patience, "end a session")
