"""The agents of one diffusion graph, checked when they are given, and a line for each of its runs. Knows no models."""

import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from aiflow.agents.deadline import Deadline
from aiflow.agents.diffusion import parties, wire
from aiflow.agents.diffusion.ledger import Trace
from aiflow.agents.diffusion.line import Line, Write
from aiflow.agents.diffusion.store import Store
from aiflow.errors import AgentError, InputError

if TYPE_CHECKING:
    from aiflow.agents.agent import Agent
    from aiflow.agents.deployment import Deployment

RUNS = 64
"""Runs whose lines are remembered: what is older can still be fetched, but not computed again."""


class Crew:
    """``parts``: by the name of an argument, the role in ``system`` that it needs, and an agent or its replicas.

    ``at``: the asker's node; by default that of the first agent. ``deadline``: seconds for each call; ``grace``: for
    those that a run can do without (None: the deadline). Raises InputError, TopologyError.
    """

    def __init__(
        self,
        system: str,
        parts: Mapping[str, tuple[str, Any]],
        *,
        at: str | None = None,
        deadline: float | None = 60.0,
        grace: float | None = None,
    ) -> None:
        self.system, self.deadline = system, deadline
        self.grace = deadline if grace is None else grace
        self.teams = {name: _team(name, system, role, given) for name, (role, given) in parts.items()}
        self.agents = list({agent.name: agent for team in self.teams.values() for agent in team}.values())
        first = self.agents[0]
        self.at, self.network = at or first.node, first.network
        for agent in self.agents:
            if agent.network is not self.network:
                raise InputError("the agents belong to different deployments; connect them in one topology.")
            self.network.route(self.at, agent.node)  # raises TopologyError
        for seconds in (deadline, self.grace):
            Deadline(seconds, self.network.clock, first.name)  # raises InputError
        self._lines: OrderedDict[str, Line] = OrderedDict()
        self._kept = Store()

    def line(self, request: str, trace: Trace | None, write: Write | None) -> Line:
        """The line of a run: the one that it began with, or a new one that goes on counting from ``trace``."""
        if request not in self._lines or not trace:
            line = Line(request, self.network, self.at, deadline=self.deadline, trace=trace, kept=self._kept)
            self._lines[request] = _lines[request] = line
        self._lines.move_to_end(request)
        while len(self._lines) > RUNS:
            self._lines.popitem(last=False)
        line = self._lines[request]
        line.write = write
        return line


_lines: "WeakValueDictionary[str, Line]" = WeakValueDictionary()
_own: "WeakValueDictionary[str, Agent]" = WeakValueDictionary()


def own(party: Any, crew: Crew, role: str) -> "Agent":
    """An agent in the asker's process and on its node, for what needs no weights. It is no deployment's."""
    from aiflow.agents.agent import Agent
    from aiflow.agents.backends.diffusion import DiffusionBackend
    from aiflow.agents.host import LocalHost
    from aiflow.agents.worker import Worker

    backend = DiffusionBackend.of(parties.loaded(party, crew.system, role))
    name = f"asker-{secrets.token_hex(4)}"
    _own[name] = made = Agent(name, LocalHost(Worker(backend, crew.network.clock)), crew.network, node=crew.at)
    return made


def find(name: str, cluster: "Mapping[str, Agent] | Deployment") -> "Agent":
    """An agent of a cluster, or one that an asker made. Raises UnknownAgentError, KeyError."""
    return _own[name] if name in _own else cluster[name]


def past(request: str, at: str, agent: "Agent") -> Line:
    """The line of a run, which knows how its results were made; a new one where another process ran it."""
    line = _lines.get(request)
    return line if line is not None and line.network is agent.network else Line(request, agent.network, at)


async def card(agent: "Agent", *, deadline: float | None = 60.0) -> wire.Card:
    """What an agent says of itself: role, weights, versions, what it holds. Raises AgentError, InputError."""
    async with Deadline(deadline, agent.network.clock, agent.name).limit():
        try:
            return wire.decode(await agent.host.call(wire.PART, wire.encode(wire.Who())), wire.Card)
        except AgentError as error:
            error.agent = error.agent or agent.name
            raise


def _team(name: str, system: str, role: str, given: Any) -> list["Agent"]:
    team = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not team:
        raise InputError(f"{name} is an empty list; give an agent.")
    for agent in team:
        if not all(hasattr(agent, part) for part in ("name", "node", "host", "network")):
            raise InputError(f"{name} must be an agent, got {str(agent)[:40]!r}; make one with cluster.agent(...).")
        model = agent.facts.get("model", "")
        if not model:
            continue
        if not parties.is_party(model) or parties.split(model)[1:] != (system, role):
            raise InputError(
                f"agent {agent.name!r} ({model}) cannot be the {name}; give one of model 'aiflow:{system}#{role}', "
                f"or '<folder>#{role}' of a saved {system} pipeline."
            )
    return team
