"""A graph of your own, from the blocks: two devices answer; only if they disagree, the edge picks the better answer.

``fan_out`` asks agents in parallel, ``merge`` makes one answer of several, ``agent_node`` is an agent as a node,
``node`` any coroutine. The rest is plain LangGraph.
"""

import sys
from pathlib import Path
from typing import Any

from langgraph.graph import END, START, MessagesState, StateGraph

import aiflow
from aiflow.graphs import agent_node, fan_out, merge, node

HOME = Path(__file__).with_name("home.yaml")


class State(MessagesState):
    answers: dict[str, str]


def build(phone: Any, tablet: Any, edge: Any, cloud: Any) -> Any:
    """Devices, then the edge if they disagree, then the cloud puts the answer into a sentence."""
    devices = [phone, tablet]

    async def ask(state: State) -> dict[str, Any]:
        replies = await fan_out(devices, state["messages"], sender=edge.node, deadline=5.0, quorum=1)
        answers = {reply.agent: reply.text for reply in replies if reply.ok}
        return {"answers": answers, "messages": [("ai", next(iter(answers.values())))]}

    async def judge(state: State) -> dict[str, Any]:
        best = await merge(edge, devices, state["answers"], state["messages"][:1], how="best_of_n")
        return {"messages": [("ai", best.text), ("user", "Say that in a sentence.")]}

    def disagree(state: State) -> str:
        return "judge" if len(set(state["answers"].values())) > 1 else END

    graph = StateGraph(State)
    graph.add_node("ask", node(ask))
    graph.add_node("judge", node(judge))
    graph.add_node("say", agent_node(cloud, sender=edge.node))
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", disagree, ["judge", END])
    graph.add_edge("judge", "say")
    return graph.compile()


def main(local: bool) -> None:
    with aiflow.connect(HOME, local=local) as cluster:
        graph = build(
            cluster.agent("phone", node="phone", model="scripted:Bonn", about="capitals"),
            cluster.agent("tablet", node="tablet", model="scripted:Berlin", about="capitals"),
            cluster.agent("edge", node="edge", model="scripted:The best answer is that of the tablet."),
            cluster.agent("cloud", node="cloud", model="scripted:The capital of Germany is Berlin."),
        )
        for message in graph.invoke({"messages": [("user", "What is the capital of Germany?")]})["messages"]:
            print(f"{message.type}: {message.content}")


if __name__ == "__main__":
    main(local="--ray" not in sys.argv)
