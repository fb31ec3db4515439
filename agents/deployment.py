"""A topology with agents on it: what ``aiflow.connect`` returns, and users call their cluster.

It places agents and knows them by name; how they answer is theirs, how messages travel the network's.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from aiflow import aio, tracing
from aiflow.agents import backends
from aiflow.agents.actor import ACTOR_OPTIONS, About, ModelActor
from aiflow.agents.agent import Agent
from aiflow.agents.host import Host, LocalHost, RayHost
from aiflow.agents.options import merge
from aiflow.agents.replicas import Role
from aiflow.agents.worker import Worker
from aiflow.clock import Clock, VirtualClock
from aiflow.cluster.network import Network
from aiflow.cluster.topology import TIERS, Link, Node, Topology
from aiflow.errors import InputError, PlacementError, TopologyError, UnknownAgentError, suggest
from aiflow.types import Options

if TYPE_CHECKING:
    from aiflow.cluster.runtime import Runtime


def connect(
    topology: Topology | str | Path | Mapping[str, Any],
    *,
    address: str | None = None,
    local: bool = False,
    clock: Clock | None = None,
    seed: int = 0,
    emulate: bool | None = None,
    raylets: Literal["tiers", "single"] = "tiers",
    partial: bool = False,
) -> "Deployment":
    """Starts the nodes of ``topology`` (a Topology, a YAML file or text, or a dict) as a local Ray cluster.

    ``address``: attach to a running Ray cluster instead. ``local``: no Ray at all, agents live in this process.
    ``raylets``: of a local cluster, one for each tier, or a single one (starts faster, but no tier can fail alone).
    ``emulate``: let messages take the time that the links say; by default not on an attached cluster, whose network is
    real. ``clock``: a VirtualClock simulates (only with ``local``). ``seed``: of jitter and loss. ``partial``: go on
    where an attached cluster lacks nodes; roles take them in when they come.
    Raises TopologyError, ClusterError, InputError.
    """
    tracing.from_environment()
    plan = _topology(topology)
    if address is not None:
        plan = plan.model_copy(update={"address": address})
    if isinstance(clock, VirtualClock) and not local:
        raise InputError("a VirtualClock cannot drive Ray processes; pass local=True as well.")
    network = Network(plan, clock, seed, emulate=local or plan.address is None if emulate is None else emulate)
    if local:
        return Deployment(network)
    from aiflow.cluster.runtime import Runtime

    return Deployment(network, Runtime.start(plan, nodes=raylets, partial=partial))


class Deployment:
    """Agents by name, and the network between them. Close it when done, or use it in ``with`` or ``async with``."""

    def __init__(self, network: Network, runtime: "Runtime | None" = None) -> None:
        self.network = network
        self.runtime = runtime
        self._agents: dict[str, Agent] = {}
        self._roles: dict[str, Role] = {}

    @property
    def topology(self) -> Topology:
        """Tiers, nodes and links."""
        return self.network.topology

    @property
    def agents(self) -> Mapping[str, Agent]:
        """Every agent by its name, in the order of creation."""
        return MappingProxyType(self._agents)

    @property
    def roles(self) -> Mapping[str, Role]:
        """Every role by its name; their replicas are among ``agents``."""
        return MappingProxyType(self._roles)

    @property
    def askable(self) -> Mapping[str, Agent | Role]:
        """Who is to be asked, by name: the roles, and the agents that are no role's replicas."""
        replicas = {name for role in self._roles.values() for name in role.replicas}
        alone = {name: agent for name, agent in self._agents.items() if name not in replicas}
        return MappingProxyType({**alone, **self._roles})

    def __getitem__(self, name: str) -> Agent:
        if name not in self._agents:
            raise UnknownAgentError(f"there is no agent {name!r}; {suggest(str(name), list(self._agents))}")
        return self._agents[name]

    def agent(
        self,
        name: str,
        *,
        node: str,
        model: str,
        about: str = "",
        options: Options | Mapping[str, Any] | None = None,
        gpus: float = 0.0,
        **backend_options: Any,
    ) -> Agent:
        """Places a model on a node and returns at once; it loads meanwhile (see ``ready``).

        ``options`` are the agent's defaults for generation; ``gpus`` what Ray reserves for its process;
        ``backend_options`` go to the back end of ``model`` (see ``aiflow.agents.backends``). Raises InputError,
        TopologyError, UnknownModelError, CredentialError, DataError, PlacementError; what only loading can find out is
        raised by ``ready`` and the first ask.
        """
        self._check_name(name)
        if node not in self.topology.nodes:
            raise TopologyError(f"{node!r} is no node; {suggest(str(node), list(self.topology.nodes))}")
        if not isinstance(about, str):
            raise InputError(f"about must be text, got {type(about).__name__}.")
        defaults = merge(Options(), options)
        host = self._host(name, node, model, gpus, backend_options)
        agent = Agent(name, host, self.network, node=node, about=about, options=defaults)
        agent.facts["model"] = model
        self._agents[name] = agent
        return agent

    def role(
        self,
        name: str,
        *,
        nodes: Sequence[str] | str,
        model: str,
        about: str = "",
        options: Options | Mapping[str, Any] | None = None,
        gpus: float = 0.0,
        patience: float | None = None,
        **backend_options: Any,
    ) -> Role:
        """Places a model on several nodes (names, or a tier: all of its nodes) and makes them one role.

        Its replicas are agents by the names ``NAME@NODE``. ``patience`` as for ``Role``; all else, and what is raised,
        as for ``agent``. A node that the cluster does not have at the moment gets its replica when it comes.
        """
        places = self.topology.on(nodes) if isinstance(nodes, str) else list(nodes)
        if not places:
            raise TopologyError(f"nodes={nodes!r} names none; {suggest(str(nodes), [*self.topology.nodes, *TIERS])}")
        self._check_name(name)

        def make(node: str) -> Agent:
            replica = f"{name}@{node}"
            how = {"about": about, "options": options, "gpus": gpus, **backend_options}
            return self.agent(replica, node=node, model=model, **how)

        here, awaited, absent = list[Agent](), list[str](), None
        for place in places:
            try:
                here.append(make(place))
            except PlacementError as error:
                awaited.append(place)
                absent = error
        if not here and absent is not None:
            raise absent
        role = Role(name, here, about=about, patience=patience, make=make, awaited=awaited)
        self._roles[name] = role
        return role

    def join(
        self, name: str, node: Node | str | Mapping[str, Any], links: Iterable[Link | Mapping[str, Any]] = ()
    ) -> None:
        """A further node with its links while everything runs; then ``agent`` and ``Role.grow`` can use it.

        Raises TopologyError, and nothing has changed then.
        """
        self.network.join(name, node, links)
        if self.runtime is not None:
            self.runtime.topology = self.topology

    async def leave(self, name: str, deadline: float = 60.0) -> None:
        """Drains the agents on a node, ends them, and forgets the node.

        Requests to single agents there fail; those to roles go to other replicas. Raises as ``Role.remove`` and
        ``Network.leave`` do.
        """
        for role in self._roles.values():
            for agent in [agent for agent in role.replicas.values() if agent.node == name]:
                await role.remove(agent.name, deadline)
                self._agents.pop(agent.name, None)
        for agent in [agent for agent in self._agents.values() if agent.node == name]:
            await self._agents.pop(agent.name).close()
        self.network.leave(name)
        if self.runtime is not None:
            self.runtime.topology = self.topology

    def leave_sync(self, name: str, deadline: float = 60.0) -> None:
        """``leave`` for synchronous code."""
        aio.run(self.leave(name, deadline))

    async def ready(self) -> None:
        """Waits until every agent's model is loaded. Raises what the first of them that failed raised."""
        for agent in self.agents.values():
            await agent.ready()

    def ready_sync(self) -> None:
        """``ready`` for synchronous code."""
        aio.run(self.ready())

    async def aclose(self) -> None:
        """Ends the agents, and the Ray cluster if ``connect`` started it. Idempotent."""
        agents, self._agents, self._roles = list(self._agents.values()), {}, {}
        for agent in agents:
            await agent.close()
        if self.runtime is not None:
            self.runtime.close()

    def close(self) -> None:
        """``aclose`` for synchronous code."""
        aio.run(self.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _check_name(self, name: Any) -> None:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InputError(f"{name!r} cannot name an agent; give a word such as 'math'.")
        if name in self._agents or name in self._roles:
            raise InputError(f"there is already an agent {name!r}; choose another name.")

    def _host(self, name: str, node: str, model: str, gpus: float, options: dict[str, Any]) -> Host:
        if self.runtime is None:
            clock = self.network.clock
            return LocalHost(Worker(backends.create(model, clock=clock, **options), clock, model))
        backends.check(model, options, here=self.topology.address is None)
        about = About(agent=name, node=node, traces=tracing.environment())
        how = {"name": about.unique(), "num_gpus": gpus, **ACTOR_OPTIONS}
        return RayHost(self.runtime.place(ModelActor, node, model, options, about, **how))


def _topology(source: Topology | str | Path | Mapping[str, Any]) -> Topology:
    if isinstance(source, Topology):
        return source
    if isinstance(source, Mapping):
        return Topology(**source)
    if not isinstance(source, str | Path):
        raise TopologyError(f"a topology is a file or a Topology, not {type(source).__name__}; pass its path.")
    return Topology.load(source)
