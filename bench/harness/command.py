"""``aiflow bench lm-eval``: a model string or a graph of a user's on tasks of lm-evaluation-harness, and its table."""

import json as jsonlib
import sys
from collections.abc import Sequence
from typing import Any

from aiflow.bench.harness.evaluate import run
from aiflow.errors import UsageError


def main(
    tasks: Sequence[str],
    model: str | None = None,
    *,
    graph: str | None = None,
    topology: str = "home",
    json: bool = False,
    **how: Any,
) -> dict[str, Any]:
    """Evaluates one of ``model`` and ``graph``; ``how``: as for ``run``. Prints the table, with ``json`` also JSON."""
    if (model is None) == (graph is None):
        raise UsageError("give one of --model and --graph.")
    found = run(tasks, model, **how) if model else _on_graph(tasks, str(graph), topology, how)
    told = sys.stderr if json else sys.stdout
    for task, figures in found["results"].items():
        values = [f"{name} {value:.4f}" for name, value in figures.items() if isinstance(value, float)]
        print(f"{task}: {', '.join(values)}", file=told)
    result: dict[str, Any] = {
        name: found[name] for name in ("results", "aiflow", "versions", "n-samples") if name in found
    }
    if json:
        print(jsonlib.dumps(result, default=str))
    return result


def _on_graph(tasks: Sequence[str], graph: str, topology: str, how: dict[str, Any]) -> dict[str, Any]:
    from aiflow import connect
    from aiflow.agents.home import HOME, home_topology
    from aiflow.graphs.opening import check, open_graph

    check(graph)
    with connect(home_topology() if topology == HOME else topology) as cluster:
        opened = open_graph(graph, cluster)
        cluster.ready_sync()
        return run(tasks, opened, **how)
