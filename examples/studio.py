"""Graphs for LangGraph's own tools (``langgraph.json`` names them): ``langgraph dev`` serves them to its Studio.

Such tools import a module and want compiled graphs in it, without a checkpointer. So the agents are ``Later``: they
start when a graph is first asked. ``home`` is the embedded family; ``own`` is the graph of ``own_graph.py``.
"""

from typing import Any

from aiflow.agents.home import home_topology
from aiflow.agents.later import Later
from aiflow.examples import own_graph
from aiflow.graphs.opening import open_graph

cluster: Any = Later(home_topology(), local=True, emulate=False)  # local=False: as a Ray cluster


def capitals(cluster: Any) -> Any:
    """The graph of ``own_graph.py`` on agents that say what they are told to."""
    return own_graph.build(
        cluster.agent("phone", node="phone", model="scripted:Bonn", about="capitals"),
        cluster.agent("tablet", node="tablet", model="scripted:Berlin", about="capitals"),
        cluster.agent("edge", node="edge", model="scripted:The best answer is that of the tablet."),
        cluster.agent("cloud", node="cloud", model="scripted:The capital of Germany is Berlin."),
    )


home = open_graph("home", cluster)
own = capitals(Later(home_topology(), local=True, emulate=False))


if __name__ == "__main__":
    print(own.invoke({"messages": [("user", "What is the capital of Germany?")]})["messages"][-1].content)
    print("home has started:", cluster.started)
