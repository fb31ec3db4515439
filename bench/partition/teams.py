"""Weak nodes in simulated time, linked to each other and to their asker, with hosts that can be made to fail."""

from aiflow.agents import backends
from aiflow.agents.agent import Agent
from aiflow.agents.backends.blocks import located
from aiflow.agents.deployment import Deployment, connect
from aiflow.agents.worker import Worker
from aiflow.bench.diffusion.unreliable import Unreliable
from aiflow.clock import VirtualClock
from aiflow.collaboration.partition.cut import Site, Sizes, Task, cut
from aiflow.collaboration.partition.weights import Checkpoint
from aiflow.errors import BudgetError

PACE = (0.010, 0.0005)
"""Seconds of a block for a pass, and for each of its tokens: about a billion parameters' block on a phone's CPU."""
TOKENS, SESSIONS = 256, 4


def team(
    model: str, count: int, clock: VirtualClock, *, rate: float, rtt: float, memory: float | None
) -> tuple[Deployment, list[Agent]]:
    """So many agents on nodes of their own; the first is the asker's."""
    nodes = {f"n{i}": {"tier": "device", "memory": memory} for i in range(count)}
    links = [{"between": ["device", "device"], "rate": rate, "rtt": rtt}] if count > 1 else []
    cluster = connect({"nodes": nodes, "links": links}, local=True, clock=clock)
    agents = []
    for node in nodes:
        agent = cluster.agent(node, node=node, model=f"blocks:{model}", pace=PACE)
        agent.host = Unreliable(lambda: Worker(backends.create(f"blocks:{model}", clock=clock, pace=PACE), clock))
        agents.append(agent)
    return cluster, agents


def sizes(model: str) -> Sizes:
    """Bytes of a model in float32."""
    folder, adapter = located(model)
    return Checkpoint(folder, adapter=adapter).sizes


def least(known: Sizes, count: int) -> float:
    """The least bytes of memory per node with which ``count`` nodes hold a model and its caches."""
    task = Task(cached=TOKENS * SESSIONS)
    low, high = 0.0, known.whole + known.head + known.cache * known.depth * task.cached
    while high - low > 1:
        middle = (low + high) / 2
        try:
            cut(known, [Site(name=str(i), memory=middle) for i in range(count)], lambda *_: 0.0, task)
            high = middle
        except BudgetError:
            low = middle
    return high
