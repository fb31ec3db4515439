"""Opens the graph that a user names: ``home``, or ``FILE.py:NAME``.

``home`` is the embedded family on the topology that ships. ``FILE.py:NAME`` is a graph, or a function that takes the
cluster (an ``aiflow.Deployment``) and returns one; a ``StateGraph`` is compiled.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.agents.home import HOME, home_agents
from aiflow.errors import UsageError, suggest

if TYPE_CHECKING:
    from aiflow.agents.deployment import Deployment


def check(name: str) -> None:
    """Refuses a graph that cannot be there, before a cluster is started for it. Raises UsageError."""
    file, _, attribute = name.partition(":")
    if name != HOME and not (attribute and Path(file).is_file()):
        raise UsageError(f"graph {name!r} is not {HOME!r} and not FILE.py:NAME of an existing file.")


def open_graph(name: str, cluster: "Deployment", **home: str) -> Any:
    """The compiled graph on ``cluster``; ``home``: what ``home_agents`` takes. Raises UsageError."""
    if name == HOME:
        from aiflow.graphs.workflows.device_server import device_server

        server, experts = home_agents(cluster, **home)
        return device_server(server=server, devices=experts, merge="rank")  # small servers pick better than they write
    file, _, attribute = name.partition(":")
    found = _load(Path(file), attribute)
    graph = found if hasattr(found, "invoke") or hasattr(found, "compile") else found(cluster)
    return graph.compile() if hasattr(graph, "compile") else graph


def _load(path: Path, attribute: str) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, attribute):
        names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise UsageError(f"{path} has no {attribute!r}; {suggest(attribute, names)}")
    return getattr(module, attribute)
