"""Puts a configuration's agents on their nodes, builds its graphs, and gives each its name as a model."""

from importlib import import_module
from pathlib import Path
from typing import Any

from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment, connect
from aiflow.agents.options import merge
from aiflow.agents.replicas import Role
from aiflow.errors import InputError, UsageError
from aiflow.graphs.opening import check, open_graph
from aiflow.serve.config import AgentEntry, Config, GraphEntry
from aiflow.serve.models import AgentModel, GraphModel, Model, members
from aiflow.types import Options

_FORMS = "'home', FILE.py:NAME or MODULE:NAME"


def open_models(config: Config) -> tuple[Deployment, dict[str, Model]]:
    """Starts everything. Models load meanwhile (``Deployment.ready``). Raises UsageError, ClusterError."""
    cluster = connect(config.topology, local=config.local, emulate=config.emulate)
    try:
        for name, entry in config.agents.items():
            try:
                _place(cluster, name, entry)
            except TypeError as error:  # a back end's option by the name of an argument
                raise InputError(f"agents.{name}.backend cannot be used: {error}.") from error
        graphs = {name: _graph(name, entry, cluster, config.folder) for name, entry in config.graphs.items()}
        clash = sorted({*graphs} & {*cluster.agents, *cluster.roles})
        if clash:
            raise UsageError(f"{', '.join(clash)} names a graph and an agent of another graph; rename the graph.")
        agents: dict[str, Model] = {name: AgentModel(agent=agent) for name, agent in cluster.askable.items()}
    except BaseException:
        cluster.close()
        raise
    return cluster, {**graphs, **agents}


def _place(cluster: Deployment, name: str, entry: AgentEntry) -> None:
    how: dict[str, Any] = {"model": entry.model, "about": entry.about, "options": entry.options, "gpus": entry.gpus}
    if entry.nodes is None:
        cluster.agent(name, node=str(entry.node), **how, **entry.backend)
    else:
        cluster.role(name, nodes=entry.nodes, patience=entry.patience, **how, **entry.backend)


def _graph(name: str, entry: GraphEntry, cluster: Deployment, folder: Path) -> Model:
    if entry.build is not None:
        before = {*cluster.agents}
        graph = _built(entry.build, cluster, folder)
        if not hasattr(graph, "astream"):
            raise UsageError(f"graphs.{name}.build {entry.build!r} gives no compiled graph; return graph.compile().")
        made = tuple(agent for agent in cluster.agents if agent not in before)
        return GraphModel(graph=graph, default=Options(), members=made, step=entry.stream or "")
    from aiflow.graphs.workflows.device_server import device_server

    named = cluster.askable

    def find(wanted: str) -> Agent | Role:
        return named[wanted] if wanted in named else cluster[wanted]  # which says what there is

    server, devices = find(str(entry.server)), [find(device) for device in entry.devices]
    options = merge(Options(), entry.options) if entry.options else None
    server_options = merge(Options(), entry.server_options) if entry.server_options else None
    graph = device_server(
        server,
        devices,
        select=entry.select,
        selector=entry.selector,
        merge=entry.merge,
        quote=entry.quote,
        revise=entry.revise,
        rounds=entry.rounds,
        deadline=entry.deadline,
        server_deadline=entry.server_deadline,
        quorum=entry.quorum,
        grace=entry.grace,
        options=options,
        server_options=server_options,
        context_limit=entry.context_limit,
        name=name,
    )
    step = "merge" if entry.merge == "synthesis" else ""  # the other ways, the server's words are names
    default = server_options or options or server.options
    return GraphModel(graph=graph, default=default, members=members(server, *devices), step=step, rounds=entry.rounds)


def _built(build: str, cluster: Deployment, folder: Path) -> Any:
    place, _, attribute = build.partition(":")
    if build == "home":
        return open_graph(build, cluster)
    if place.endswith(".py"):
        file = f"{folder / place}:{attribute}"
        check(file)
        return open_graph(file, cluster)
    if not attribute:
        raise UsageError(f"graph {build!r} is not {_FORMS}.")
    try:
        found = getattr(import_module(place), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"graph {build!r} cannot be imported ({error}); give {_FORMS}.") from error
    return found if hasattr(found, "astream") else found(cluster)
