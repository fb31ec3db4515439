"""The device-server collaboration (AI Flow: Perspectives, Scenarios, and Approaches, IV-A) as a LangGraph graph.

A server selects the devices that suit a question, they answer in parallel, it merges their answers, and each revises
its own in the light of the joint one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from aiflow.agents.interface import Asks
from aiflow.graphs.blocks import similarity
from aiflow.graphs.blocks.merge import How, Quote
from aiflow.graphs.blocks.node import node
from aiflow.graphs.blocks.select import Selector
from aiflow.graphs.state import State
from aiflow.graphs.workflows.collaboration import Collaboration
from aiflow.graphs.workflows.policy import Policy, check_agents
from aiflow.types import Options


def device_server(
    server: Asks,
    devices: Sequence[Asks],
    *,
    select: int | Literal["all"] = 2,
    selector: Selector = "server",
    merge: How = "synthesis",
    quote: Quote = "plain",
    revise: Literal["selected", "all", False] = "selected",
    rounds: int = 1,
    deadline: float | None = None,
    server_deadline: float | None = None,
    quorum: int = 1,
    grace: float | None = None,
    options: Options | None = None,
    server_options: Options | None = None,
    context_limit: int | None = 60_000,
    measure: Callable[[str], int] = len,
    checkpointer: BaseCheckpointSaver[Any] | bool | None = None,
    name: str = "device_server",
) -> CompiledStateGraph[State, None, Any, State]:
    """Builds the graph ``select -> answer -> merge -> revise`` from ``{"messages": [...]}`` to a ``State``.

    The last message is the merged answer. A second call on the same ``thread_id`` goes on with the conversation.

    Args:
        select: How many devices, at most; ``"all"`` saves the server a call.
        selector: Who selects: ``"server"`` from the descriptions, ``"tfidf"``, ``"all"``, or a function from texts to
            embedding vectors.
        merge: ``"synthesis"`` by the server, ``"vote"``, ``"best_of_n"`` or ``"rank"`` (word for word a device's).
        quote: How the server is shown the answers it merges: ``"plain"``, as the embedded models are trained, or
            ``"data"``, between marks that no device can forge and with the words not to obey them.
        revise: Who revises: the ``"selected"`` devices; ``"all"``, where every device also answers first but only the
            selected ones' answers are merged; or nobody (False). The merge reads nobody else's revision either.
        rounds: How often answers are merged; before each further time, the devices revise.
        deadline: Seconds for each step of the devices. Late ones are left out.
        server_deadline: Seconds for each call of the server; None: ``deadline``.
        quorum: How many answers a merge needs at least; with fewer, the server answers alone.
        grace: Seconds to wait for the rest once a quorum has answered; None: up to the deadline.
        options: How the devices generate.
        server_options: How the server generates; None: ``options``.
        context_limit: Longest prompt to the server, in what ``measure`` counts (characters); None: any length.
        checkpointer: As for ``StateGraph.compile``; see ``aiflow.graphs.sqlite``.

    Raises UsageError here, for arguments that cannot be meant; InputError from a run, for a question that cannot be
    used; QuorumError from a run, if neither enough devices nor the server answer. All else is marked in the trace.
    """
    policy = Policy(
        select=select,
        selector=selector,
        merge=merge,
        quote=quote,
        revise=revise,
        rounds=rounds,
        deadline=deadline,
        server_deadline=deadline if server_deadline is None else server_deadline,
        quorum=quorum,
        grace=grace,
        options=options,
        server_options=options if server_options is None else server_options,
        context_limit=context_limit,
        measure=measure,
    )
    team = check_agents(server, devices, quorum)
    if policy.count(team) < len(team) and selector in ("server", "tfidf"):
        similarity.warm([f"{device.name} {device.about}" for device in team])
    return _graph(Collaboration(server, team, policy)).compile(checkpointer, name=name)


def _graph(steps: Collaboration) -> StateGraph[State, None, Any, State]:
    # Any: users write messages in every form that add_messages reads, not only as message objects.
    graph: StateGraph[State, None, Any, State] = StateGraph(State, input_schema=MessagesState)
    graph.add_node("select", node(steps.select))
    graph.add_node("answer", node(steps.answer))
    graph.add_node("merge", node(steps.merge))
    graph.add_edge(START, "select")
    graph.add_edge("select", "answer")
    graph.add_edge("answer", "merge")
    if not steps.policy.revise:
        graph.add_edge("merge", END)
        return graph
    rounds = steps.policy.rounds
    graph.add_node("revise", node(steps.revise))
    graph.add_edge("merge", "revise")
    if rounds == 1:
        graph.add_edge("revise", END)
    else:
        graph.add_conditional_edges("revise", lambda state: "merge" if state["round"] < rounds else END, ["merge", END])
    return graph
