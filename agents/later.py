"""A deployment that starts with its first question: for graphs that must exist when a module is imported.

Graphs are built on its agents as on others; nothing is started or loaded until one of them is asked.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from aiflow import aio
from aiflow.agents.deployment import Deployment, connect
from aiflow.errors import UnknownAgentError, suggest
from aiflow.types import Answer, Delta

if TYPE_CHECKING:
    from aiflow.cluster.topology import Topology


class Later:
    """What ``aiflow.connect(topology, **how)`` gives, once it is needed; of it, only agents can be had before."""

    def __init__(self, topology: "Topology | str | Path | Mapping[str, Any]", **how: Any) -> None:
        self._topology, self._how = topology, how
        self._wanted: dict[str, LaterAgent] = {}
        self._lock = threading.Lock()
        self._open: Deployment | None = None

    def agent(self, name: str, *, node: str, model: str, about: str = "", **how: Any) -> "LaterAgent":
        """As ``Deployment.agent``, which raises what is wrong with it when the first question comes."""
        made = self._wanted[name] = LaterAgent(self, name, node, about, {"model": model, **how})
        return made

    @property
    def agents(self) -> Mapping[str, "LaterAgent"]:
        """Every agent by its name."""
        return MappingProxyType(self._wanted)

    def __getitem__(self, name: str) -> "LaterAgent":
        if name not in self._wanted:
            raise UnknownAgentError(f"there is no agent {name!r}; {suggest(str(name), list(self._wanted))}")
        return self._wanted[name]

    @property
    def started(self) -> bool:
        """Whether anything was asked yet."""
        return self._open is not None

    async def opened(self) -> Deployment:
        """The deployment, with all agents on it. Raises what starting it raises, each time anew."""
        if self._open is not None:
            return self._open
        return await asyncio.to_thread(self._begin)  # loading models would hold up the event loop

    def _begin(self) -> Deployment:
        with self._lock:
            if (known := self._open) is not None:
                return known
            cluster = connect(self._topology, **self._how)
            try:
                for agent in self._wanted.values():
                    cluster.agent(agent.name, node=agent.node, about=agent.about, **agent.how)
            except BaseException:
                cluster.close()
                raise
            self._open = cluster
            return cluster

    async def aclose(self) -> None:
        """Ends what was started; the next question starts it anew."""
        cluster, self._open = self._open, None
        if cluster is not None:
            await cluster.aclose()

    def close(self) -> None:
        """``aclose`` for synchronous code."""
        aio.run(self.aclose())


@dataclass(frozen=True)
class LaterAgent:
    """An agent of it (``aiflow.agents.interface.Asks``)."""

    cluster: Later
    name: str
    node: str
    about: str
    how: Mapping[str, Any]

    async def ask(self, messages: Any, **arguments: Any) -> Answer:
        """As ``Agent.ask``; a deadline does not count the start."""
        return await (await self.cluster.opened())[self.name].ask(messages, **arguments)

    async def stream(self, messages: Any, **arguments: Any) -> AsyncGenerator[Delta | Answer]:
        """As ``Agent.stream``."""
        agent = (await self.cluster.opened())[self.name]
        async with aclosing(agent.stream(messages, **arguments)) as pieces:
            async for piece in pieces:
                yield piece
