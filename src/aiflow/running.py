"""Asks or draws the graph that a user names on the command line (see ``aiflow.graphs.opening``)."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aiflow import tracing
from aiflow.agents.home import home_topology
from aiflow.errors import InputError
from aiflow.graphs.opening import check, open_graph
from aiflow.types import Image, Message
from aiflow.units import show_bytes

if TYPE_CHECKING:
    from aiflow.agents.deployment import Deployment


def ask(question: str, *, images: Sequence[Path], graph: str, topology: str, trace: bool) -> None:
    """Prints the answer of ``graph`` to ``question``; with ``trace``, each step on stderr."""
    message = Message("user", question, tuple(_image(path) for path in images)).openai()
    if not question.strip() and not images:
        raise InputError("the question is empty; pass some text.")
    check(graph)
    with _connect(topology) as cluster:
        opened = open_graph(graph, cluster)
        with tracing.span(f"run {graph}", {"aiflow.graph": graph}):
            state = opened.invoke({"messages": [message]})
    print(state["messages"][-1].content)
    for step in state.get("trace", []) if trace else []:
        sent = show_bytes(sum(step.get("bytes", {}).values()))
        status = "ok" if step.get("ok", True) else f"FAILED {step.get('error', '')}"
        parts = "".join(f"  {name} {seconds:.3f} s" for name, seconds in step.get("parts", {}).items())
        line = f"{step['step']:<8} {step['agent']:<12} {step['seconds']:7.3f} s  {sent:>9}  {status}{parts}"
        print(line, file=sys.stderr)


def draw(*, graph: str, topology: str) -> None:
    """Prints the graph as Mermaid text."""
    check(graph)
    with _connect(topology, local=True) as cluster:  # a drawing needs names, not processes or weights
        print(open_graph(graph, cluster, model="scripted:echo").get_graph().draw_mermaid())


def _connect(topology: str, *, local: bool = False) -> "Deployment":
    from aiflow.agents.deployment import connect

    return connect(home_topology() if topology == "home" else topology, local=local)


def _image(path: Path) -> Image:
    if not path.is_file():
        raise InputError(f"image {str(path)!r} does not exist; pass the path of a picture file.")
    return Image(path.read_bytes())
