"""A topology with agents on it: what ``aiflow.connect`` returns, and users call their cluster.

It places agents and knows them by name; how they answer is theirs, how messages travel the network's.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from aiflow import aio
from aiflow.agents import backends
from aiflow.agents.actor import ACTOR_OPTIONS, ModelActor
from aiflow.agents.agent import Agent
from aiflow.agents.host import Host, LocalHost, RayHost
from aiflow.agents.options import merge
from aiflow.agents.worker import Worker
from aiflow.clock import Clock, VirtualClock
from aiflow.cluster.network import Network
from aiflow.cluster.topology import Topology
from aiflow.errors import InputError, TopologyError, UnknownAgentError, suggest
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
) -> "Deployment":
    """Starts the nodes of ``topology`` (a Topology, a YAML file or text, or a dict) as a local Ray cluster.

    ``address``: attach to a running Ray cluster instead. ``local``: no Ray at all, agents live in this process.
    ``raylets``: of a local cluster, one for each tier, or a single one (starts faster, but no tier can fail alone).
    ``emulate``: let messages take the time that the links say; by default not on an attached cluster, whose network is
    real. ``clock``: a VirtualClock simulates (only with ``local``). ``seed``: of jitter and loss.
    Raises TopologyError, ClusterError, InputError.
    """
    plan = _topology(topology)
    if address is not None:
        plan = plan.model_copy(update={"address": address})
    if isinstance(clock, VirtualClock) and not local:
        raise InputError("a VirtualClock cannot drive Ray processes; pass local=True as well.")
    network = Network(plan, clock, seed, emulate=local or plan.address is None if emulate is None else emulate)
    if local:
        return Deployment(network)
    from aiflow.cluster.runtime import Runtime

    return Deployment(network, Runtime.start(plan, nodes=raylets))


class Deployment:
    """Agents by name, and the network between them. Close it when done, or use it in ``with`` or ``async with``."""

    def __init__(self, network: Network, runtime: "Runtime | None" = None) -> None:
        self.network = network
        self.runtime = runtime
        self._agents: dict[str, Agent] = {}

    @property
    def topology(self) -> Topology:
        """Tiers, nodes and links."""
        return self.network.topology

    @property
    def agents(self) -> Mapping[str, Agent]:
        """Every agent by its name, in the order of creation."""
        return MappingProxyType(self._agents)

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
        host = self._host(node, model, gpus, backend_options)
        agent = Agent(name, host, self.network, node=node, about=about, options=defaults)
        agent.facts["model"] = model
        self._agents[name] = agent
        return agent

    async def ready(self) -> None:
        """Waits until every agent's model is loaded. Raises what the first of them that failed raised."""
        for agent in self.agents.values():
            await agent.ready()

    def ready_sync(self) -> None:
        """``ready`` for synchronous code."""
        aio.run(self.ready())

    async def aclose(self) -> None:
        """Ends the agents, and the Ray cluster if ``connect`` started it. Idempotent."""
        agents, self._agents = list(self._agents.values()), {}
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
        if name in self._agents:
            raise InputError(f"there is already an agent {name!r}; choose another name.")

    def _host(self, node: str, model: str, gpus: float, options: dict[str, Any]) -> Host:
        if self.runtime is None:
            clock = self.network.clock
            return LocalHost(Worker(backends.create(model, clock=clock, **options), clock))
        backends.check(model, options, here=self.topology.address is None)
        return RayHost(self.runtime.place(ModelActor, node, model, options, num_gpus=gpus, **ACTOR_OPTIONS))


def _topology(source: Topology | str | Path | Mapping[str, Any]) -> Topology:
    if isinstance(source, Topology):
        return source
    if isinstance(source, Mapping):
        return Topology(**source)
    if not isinstance(source, str | Path):
        raise TopologyError(f"a topology is a file or a Topology, not {type(source).__name__}; pass its path.")
    return Topology.load(source)
