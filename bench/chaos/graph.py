"""The graph under fire: two roles with three replicas each, in turn, three times. Greedy, whoever answers."""

import time
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph

from aiflow.agents.deployment import Deployment
from aiflow.graphs import node
from aiflow.graphs.state import State, record

SORT, TURN = ("phone", "laptop", "tablet"), ("laptop", "tablet", "cloud")
MODEL = "aiflow:nano/text"
STEPS = 6
PATIENCE = 4.0
"""Seconds after which another replica is asked too; an answer takes a tenth of one."""


def question(words: list[str]) -> str:
    """What is asked about a list of words; long lists have answers of their own."""
    return f"Sort these words: {', '.join(words)}"


def chaos(cluster: Deployment) -> Any:
    """``sort`` answers on a device, ``turn`` turns that around, mostly on another node, ``sort`` sorts that, and on."""
    roles = {
        name: cluster.role(name, nodes=nodes, model=MODEL, options={"max_tokens": 48}, patience=PATIENCE)
        for name, nodes in (("sort", SORT), ("turn", TURN))
    }
    here = cluster.topology.on("edge")[0]

    async def step(name: str, asked: str, state: Any) -> dict[str, Any]:
        began = time.time()
        answer = await roles[name].ask(asked, sender=here)
        trace = [*state.get("trace", []), record(name, roles[name], began, answer=answer)]
        return {"messages": [AIMessage(answer.text)], "trace": trace}

    async def sort(state: Any) -> dict[str, Any]:
        words = state["messages"][-1].content
        return await step("sort", question([words]) if state.get("trace") else words, state)

    async def turn(state: Any) -> dict[str, Any]:
        return await step("turn", f"Reverse this list: {state['messages'][-1].content}", state)

    graph = StateGraph(State)
    graph.add_node("sort", node(sort))
    graph.add_node("turn", node(turn))
    graph.add_edge(START, "sort")
    graph.add_edge("sort", "turn")
    graph.add_conditional_edges("turn", lambda state: "sort" if len(state["trace"]) < STEPS else END, ["sort", END])
    return graph
