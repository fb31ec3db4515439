"""Who takes part in the nano suite: five device agents and a server, as ``Asks``. The one place that connects."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiflow.agents.interface import Asks


@dataclass(frozen=True, kw_only=True)
class Team:
    """The agents; ``models`` tells what is behind each name and where, ``topology`` what lies between."""

    server: Asks
    devices: tuple[Asks, ...]
    models: Mapping[str, str]
    topology: str


@contextmanager
def embedded(topology: Path | None = None, model: str = "aiflow:nano/{name}") -> Iterator[Team]:
    """The models that ship, on the home topology (or one with the same nodes); a local Ray cluster while it lasts.

    ``model`` says what is behind each agent, with ``{name}`` filled in.

    Raises TopologyError, ClusterError, UnknownModelError.
    """
    from aiflow import connect
    from aiflow.agents.home import home_agents, home_topology

    path = topology or Path(home_topology())
    with connect(path) as cluster:
        server, devices = home_agents(cluster, model)
        cluster.ready_sync()
        models = {agent.name: f"{model.format(name=agent.name)} on {agent.node}" for agent in (*devices, server)}
        yield Team(server=server, devices=tuple(devices), models=models, topology=str(path))
