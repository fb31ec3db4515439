"""How the nodes, links and agents behind a gateway are at this moment, for ``GET /status`` and ``aiflow top``.

Every agent's process is asked whether it is there; who does not say so in time is shown as what that means.
"""

import asyncio
import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment
from aiflow.agents.spans import model_name
from aiflow.cluster.watch import LinkWatch
from aiflow.errors import AgentDiedError, AiflowError, DeadlineError

PATIENCE = 0.5
"""Seconds in which an agent's process has to say that it is there."""
State = Literal["up", "loading", "restarting", "gone", "failed"]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NodeStatus(_Said):
    """A node: whether an agent could be placed on it now."""

    tier: str
    alive: bool


class LinkStatus(_Said):
    """A link: bytes/s each way, round-trip seconds, whether these were measured, and bytes so far."""

    rate_up: float
    rate_down: float
    rtt: float
    measured: bool
    bytes: int


class AgentStatus(_Said):
    """An agent, and what it did since the gateway started. ``seconds`` are those inside its model."""

    node: str
    model: str
    state: State
    in_flight: int
    asked: int
    answered: int
    errors: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class Status(_Said):
    """All of them; ``uptime`` in seconds, ``requests`` those of the gateway under way."""

    uptime: float
    requests: int
    nodes: dict[str, NodeStatus]
    links: dict[str, LinkStatus]
    agents: dict[str, AgentStatus]


class Census:
    """Knows the cluster behind a gateway."""

    def __init__(self, cluster: Deployment) -> None:
        self.cluster = cluster
        self.watch = LinkWatch(cluster.network)
        self._started = time.monotonic()
        self._probes: dict[str, asyncio.Future[Any]] = {}

    async def take(self, requests: int) -> Status:
        """The status now, within little more than ``PATIENCE``."""
        agents = dict(self.cluster.agents)
        looking = asyncio.ensure_future(self._nodes())
        states = await asyncio.gather(*(self._state(agent) for agent in agents.values()))
        nodes = await looking
        rows = {}
        for (name, agent), state in zip(agents.items(), states, strict=True):
            gone = state == "restarting" and agent.node in nodes and not nodes[agent.node].alive
            rows[name] = _row(agent, "gone" if gone else state)
        uptime = round(time.monotonic() - self._started, 3)
        return Status(uptime=uptime, requests=requests, nodes=nodes, links=self.links(), agents=rows)

    def links(self) -> dict[str, LinkStatus]:
        """The links now."""
        totals, found = self.cluster.network.totals(), {}
        for name in self.cluster.topology.wires():
            up, down = self.watch.line(name, False), self.watch.line(name, True)
            found[name] = LinkStatus(
                rate_up=up.rate,
                rate_down=down.rate,
                rtt=up.delay + down.delay,
                measured=up.measured or down.measured,
                bytes=totals.get(name, 0),
            )
        return found

    async def _nodes(self) -> dict[str, NodeStatus]:
        alive = dict.fromkeys(self.cluster.topology.nodes, True)
        if (runtime := self.cluster.runtime) is not None:

            async def look() -> dict[str, bool]:
                places = await asyncio.to_thread(runtime.nodes)
                return {name: place.alive for name, place in places.items()}

            try:
                alive |= await self._ask("", look())
            except (AiflowError, TimeoutError):  # nobody answers for the cluster
                alive = dict.fromkeys(alive, False)
        tiers = self.cluster.topology.nodes
        return {name: NodeStatus(tier=tiers[name].tier, alive=there) for name, there in alive.items() if name in tiers}

    async def _state(self, agent: Agent) -> State:
        try:
            await self._ask(agent.name, agent.totals())
        except (TimeoutError, DeadlineError):
            return "loading" if agent.host.starting else "restarting"
        except AgentDiedError:
            return "restarting"
        except AiflowError:
            return "failed"
        return "up"

    async def _ask(self, key: str, question: Any) -> Any:
        """The answer to a question of which one is under way at most. Raises TimeoutError."""
        if (probe := self._probes.get(key)) is None:
            probe = self._probes[key] = asyncio.ensure_future(question)
            probe.add_done_callback(lambda done: self._forget(key, done))
        else:
            question.close()
        done, _ = await asyncio.wait({probe}, timeout=PATIENCE)
        if not done:
            raise TimeoutError
        return probe.result()

    def _forget(self, key: str, done: "asyncio.Future[Any]") -> None:
        self._probes.pop(key, None)
        if not done.cancelled():
            done.exception()  # a late failure interests nobody

    def close(self) -> None:
        """Asks no longer."""
        for probe in list(self._probes.values()):
            probe.cancel()


def _row(agent: Agent, state: State) -> AgentStatus:
    spent, tally = agent.spent, agent.tally
    return AgentStatus(
        node=agent.node,
        model=model_name(agent.facts.get("model")) or "",
        state=state,
        in_flight=tally.in_flight,
        asked=tally.asked,
        answered=spent.answers,
        errors=dict(tally.failed),
        prompt_tokens=spent.usage.prompt_tokens,
        completion_tokens=spent.usage.completion_tokens,
        seconds=round(spent.usage.seconds, 6),
    )
