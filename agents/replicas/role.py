"""A role: agents of one kind on several nodes, asked as one agent is (``aiflow.agents.interface.Asks``).

Requests go to the replica that is expected to answer first. What a replica loses, because its process, node or link is
gone, another one answers; replicas join, leave and return while requests run.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from aiflow import aio
from aiflow.agents.agent import LOAD_SECONDS, Agent, stepped
from aiflow.agents.deadline import Deadline
from aiflow.agents.replicas.balance import Balance, Load
from aiflow.agents.replicas.race import FAILED, POLL, Race
from aiflow.agents.replicas.relay import Relay
from aiflow.agents.spent import Spent, together
from aiflow.errors import ClusterError, InputError
from aiflow.types import Answer, Delta, Options, conversation

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

LOOK, PROBE = 2.0, 10.0
"""Seconds between two looks whether a node that was not there has come; and in which a replica says that it is back."""


class Role:
    """Replicas under one name. ``Deployment.role`` makes them.

    ``patience``: seconds after which a request that is not answered is given to another replica as well (None: only
    when the first has failed). It is what a link that swallows everything costs, so more than an answer takes.
    ``make`` places a further replica on a node; ``awaited``: nodes that are to have one as soon as they are there.
    """

    def __init__(
        self,
        name: str,
        replicas: Sequence[Agent],
        *,
        about: str = "",
        patience: float | None = None,
        make: Callable[[str], Agent] | None = None,
        awaited: Sequence[str] = (),
    ) -> None:
        if not replicas:
            raise InputError(f"role {name!r} has no replica; give at least one agent.")
        if patience is not None and not 0 < patience < inf:
            raise InputError(f"patience={patience!r} is not usable; give seconds above 0, or None.")
        self.name, self.about, self.patience = name, about, patience
        self.options, self.network = replicas[0].options, replicas[0].network
        self.abilities: list[Callable[[Any], BaseTool]] = []
        self._make, self._awaited = make, list(awaited)
        self._looked = -inf
        self._replicas: dict[str, Agent] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by replica
        self._balance = Balance(lambda name: self._replicas[name].host.starting)
        for agent in replicas:
            self.add(agent)

    def __repr__(self) -> str:
        return f"Role({self.name!r}, replicas={list(self._replicas)})"

    @property
    def replicas(self) -> Mapping[str, Agent]:
        """The agents by name."""
        return MappingProxyType(self._replicas)

    @property
    def loads(self) -> Mapping[str, Load]:
        """What is known of each replica: requests in flight, mean seconds, failures, whether it drains."""
        return MappingProxyType(self._balance.loads)

    @property
    def node(self) -> str:
        """The node of the replica that would be asked now."""
        return self.pick().node

    @property
    def spent(self) -> Spent:
        """What the replicas' answers have cost, together."""
        return together(agent.spent for agent in self._replicas.values())

    def pick(self) -> Agent:
        """The replica that would be asked now, for abilities that one agent has."""
        name = self._balance.choose(self.network.clock.now())
        return self._replicas[name] if name else next(iter(self._replicas.values()))

    def add(self, agent: Agent) -> None:
        """A further replica, asked from now on. Raises InputError if its name is taken."""
        if agent.name in self._replicas:
            raise InputError(f"role {self.name!r} already has a replica {agent.name!r}; choose another name.")
        self._replicas[agent.name] = agent
        self._balance.loads[agent.name] = Load()

    def grow(self, node: str) -> Agent:
        """A further replica with the same model on ``node``. Raises as ``Deployment.agent`` does."""
        if self._make is None:
            raise InputError(f"role {self.name!r} was made of given agents; add(agent) one instead.")
        agent = self._make(node)
        self.add(agent)
        return agent

    async def drain(self, name: str, deadline: float = 60.0) -> bool:
        """Gives a replica no more requests and waits for those that it has; False if some are left by the deadline."""
        load, clock = self._balance[name], self.network.clock
        load.draining = True
        until = clock.now() + deadline
        while load.in_flight and clock.now() < until:
            await clock.sleep_until(min(until, clock.now() + POLL))
        return not load.in_flight

    async def remove(self, name: str, deadline: float = 60.0) -> None:
        """Drains a replica and ends it; what it has not answered by then, others do.

        Raises ClusterError for the last replica.
        """
        if set(self._replicas) == {name}:
            raise ClusterError(f"{name!r} is the last replica of role {self.name!r}; add another one first.")
        await self.drain(name, deadline)
        agent = self._replicas.pop(name)
        self._balance.loads.pop(name)
        await agent.close()

    async def ready(self, deadline: float = LOAD_SECONDS) -> None:
        """Waits until one replica can answer. Raises what the last one raised if none can."""
        self._tend()
        left = {task for name, task in self._tasks.items() if name in self._replicas}
        async with Deadline(deadline, self.network.clock, self.name, "load").limit():
            while left and all(agent.host.starting for agent in self._replicas.values()):
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                if not left:
                    done.pop().result()

    def _tend(self) -> None:
        """In the background: waits for replicas that load, looks after those that failed, makes awaited ones."""
        loop, clock = asyncio.get_running_loop(), self.network.clock
        if self._awaited and time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            self._tasks[""] = loop.create_task(self._look())
        loading = [name for name, agent in self._replicas.items() if agent.host.starting]
        for name in (*loading, *self._balance.rested(clock.now())):
            task = self._tasks.get(name)
            if task is None or task.done() or task.get_loop() is not loop:
                task = self._tasks[name] = loop.create_task(self._reach(name, name in loading))
                task.add_done_callback(lambda task: task.cancelled() or task.exception())  # asking raises it as well

    async def _reach(self, name: str, loading: bool) -> None:
        """Waits until a replica is there. Raises what its loading raised."""
        try:
            await self._replicas[name].ready(LOAD_SECONDS if loading else PROBE)
        except FAILED:
            self._balance.failed(name, self.network.clock.now())
            raise
        self._balance.back(name)

    async def _look(self) -> None:
        """Makes the replicas of nodes that have come."""
        for node in list(self._awaited):
            with contextlib.suppress(ClusterError):
                await asyncio.to_thread(self.grow, node)
                self._awaited.remove(node)

    async def ask(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> Answer:
        """As ``Agent.ask``; ``Answer.node`` says who answered. Raises what the last replica raised if none answers."""
        talk = conversation(messages)  # once, also for an iterator
        self._tend()
        race = Race(self._replicas, self._balance, self.network.clock, self.patience)
        async with Deadline(deadline, self.network.clock, self.name).limit():
            answer = await race.run(lambda agent: agent.ask(talk, sender=sender, options=options))
        return replace(answer, agent=self.name)

    async def stream(
        self,
        messages: Any,
        *,
        sender: str | None = None,
        options: Options | Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Delta | Answer]:
        """As ``Agent.stream``. Where one replica breaks off, another goes on if it writes the same text.

        That is so for greedy and for seeded answers; else BackendError is raised.
        """
        relay = Relay(self._replicas, self._balance, self.network.clock, self.patience)
        limit = Deadline(deadline, self.network.clock, self.name)
        talk = conversation(messages)
        self._tend()
        pieces = relay.run(lambda agent: agent.stream(talk, sender=sender, options=options), limit)
        async with aclosing(pieces):
            async for piece in pieces:
                yield replace(piece, agent=self.name) if isinstance(piece, Answer) else piece

    async def close(self) -> None:
        """Ends every replica."""
        for task in self._tasks.values():
            task.cancel()
        for agent in self._replicas.values():
            await agent.close()

    def ask_sync(self, messages: Any, **arguments: Any) -> Answer:
        """``ask`` for synchronous code (arguments as there)."""
        return aio.run(self.ask(messages, **arguments))

    def stream_sync(self, messages: Any, **arguments: Any) -> Iterator[Delta | Answer]:
        """``stream`` for synchronous code (arguments as there)."""
        return stepped(self.stream(messages, **arguments))

    def tools(self, sender: str | None = None) -> "list[BaseTool]":
        """``ask_<name>`` as a LangChain tool, asked from node ``sender``."""
        from aiflow.agents.tools import tools

        return tools(self, sender)
