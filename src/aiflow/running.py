"""Opens the graph a user names on the command line and asks it, or draws it.

``home`` is the embedded family on the topology that ships. ``FILE.py:NAME`` is a compiled graph, or a function that
takes the cluster (an ``aiflow.Deployment``) and returns one.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiflow.agents.home import home_agents, home_topology
from aiflow.errors import InputError, UsageError, suggest
from aiflow.types import Image, Message
from aiflow.units import show_bytes

if TYPE_CHECKING:
    from aiflow.agents.deployment import Deployment


def ask(question: str, *, images: Sequence[Path], graph: str, topology: str, trace: bool) -> None:
    """Prints the answer of ``graph`` to ``question``; with ``trace``, each step on stderr."""
    message = Message("user", question, tuple(_image(path) for path in images)).openai()
    if not question.strip() and not images:
        raise InputError("the question is empty; pass some text.")
    _check(graph)
    with _connect(topology) as cluster:
        state = _open(graph, cluster).invoke({"messages": [message]})
    print(state["messages"][-1].content)
    for step in state.get("trace", []) if trace else []:
        sent = show_bytes(sum(step.get("bytes", {}).values()))
        status = "ok" if step.get("ok", True) else f"FAILED {step.get('error', '')}"
        parts = "".join(f"  {name} {seconds:.3f} s" for name, seconds in step.get("parts", {}).items())
        line = f"{step['step']:<8} {step['agent']:<12} {step['seconds']:7.3f} s  {sent:>9}  {status}{parts}"
        print(line, file=sys.stderr)


def draw(*, graph: str, topology: str) -> None:
    """Prints the graph as Mermaid text."""
    _check(graph)
    with _connect(topology, local=True) as cluster:  # a drawing needs names, not processes or weights
        print(_open(graph, cluster, model="scripted:echo").get_graph().draw_mermaid())


def _connect(topology: str, *, local: bool = False) -> "Deployment":
    from aiflow.agents.deployment import connect

    return connect(home_topology() if topology == "home" else topology, local=local)


def _open(name: str, cluster: "Deployment", **home: str) -> Any:
    if name == "home":
        from aiflow.graphs import device_server

        server, experts = home_agents(cluster, **home)
        return device_server(server=server, devices=experts, merge="rank")  # small servers pick better than they write
    file, _, attribute = name.partition(":")
    found = _load(Path(file), attribute)
    return found if hasattr(found, "invoke") else found(cluster)


def _check(name: str) -> None:
    """Refuses a graph that cannot be there, before a cluster is started for it."""
    file, _, attribute = name.partition(":")
    if name != "home" and not (attribute and Path(file).is_file()):
        raise UsageError(f"graph {name!r} is not 'home' and not FILE.py:NAME of an existing file.")


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


def _image(path: Path) -> Image:
    if not path.is_file():
        raise InputError(f"image {str(path)!r} does not exist; pass the path of a picture file.")
    return Image(path.read_bytes())
