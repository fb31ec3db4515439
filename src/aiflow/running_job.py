"""What the job of a submitted graph runs, on the cluster: ``python -m aiflow.running_job GRAPH TOPOLOGY QUESTION``.

Its result is the answer and the trace. Users do not call this: ``aiflow submit FILE.py:NAME -- QUESTION`` does.
"""

import sys

from aiflow.cluster.jobs.result import report
from aiflow.errors import AiflowError


def main(graph: str, topology: str, question: str) -> None:
    """Asks ``graph`` one question on the cluster that this process belongs to."""
    from aiflow.agents.deployment import connect
    from aiflow.graphs.opening import open_graph

    with connect(topology, address="auto") as cluster:
        print(f"places {len(cluster.topology.nodes)} nodes; loads the agents", flush=True)
        state = open_graph(graph, cluster).invoke({"messages": [{"role": "user", "content": question}]})
    report({"answer": state["messages"][-1].content, "trace": state.get("trace", [])})


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except AiflowError as error:
        sys.exit(f"{type(error).__name__}: {error}")
